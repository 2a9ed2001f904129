//! In whose name a session speaks.

use crate::authority::address::AuthorityUrl;
use crate::secret::SecretText;

/// A machine's account at one authority (RFC 6749 section 4.4). `Debug` does not show its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Robot {
    /// The authority that knows the account.
    pub store: AuthorityUrl,
    /// The account's id.
    pub id: String,
    /// Its secret.
    pub secret: SecretText,
}

/// In whose name a session speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A person, who has signed in or will be asked to: the sign-in is stored, and its refresh token rotates.
    Person,
    /// A robot: nothing is stored, and nobody is ever asked.
    Robot(Robot),
}

impl Identity {
    /// Who speaks to the authority at `url`: its robot, if there is one.
    #[must_use]
    pub fn at(url: &AuthorityUrl, robots: &[Robot]) -> Self {
        robots
            .iter()
            .find(|robot| robot.store == *url)
            .map_or(Self::Person, |robot| Self::Robot(robot.clone()))
    }
}
