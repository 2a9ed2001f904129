//! Asking a person for user and password.

use std::future::Future;

use crate::secret::SecretText;

/// What a person typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: SecretText,
    /// Whether it is to be remembered: a program may let its person say so.
    pub remember: bool,
}

/// A client that can ask its person.
pub trait Prompt: Sync {
    /// Asks for user and password for `realm`. `previous_error` says why it is asked again. A client whose person does not want to
    /// answer closes its request, so this may never return.
    fn password(
        &self,
        realm: &str,
        previous_error: Option<&str>,
    ) -> impl Future<Output = Option<Typed>> + Send;
}
