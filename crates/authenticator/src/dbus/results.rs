//! The arguments of the `Response` signal.

use std::collections::HashMap;

use zbus::zvariant::Value;

use crate::secret::SecretText;
use crate::session::ask::Tokens;
use crate::session::refusal::Ended;
use crate::session::summary::SummaryGrant;

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// Tokens for refs.
    Refs(Tokens),
    /// A token for a repo's index.
    Summary(SummaryGrant),
}

/// The results dictionary, `a{sv}`.
pub type Results = HashMap<&'static str, Value<'static>>;

/// The response code: 0 tokens, 1 the person cancelled, 2 an error.
#[must_use]
pub fn code(outcome: &Result<Granted, Ended>) -> u32 {
    match outcome {
        Ok(_) => 0,
        Err(Ended::Cancelled) => 1,
        Err(Ended::Refused(_)) => 2,
    }
}

/// The results that go with the code: `tokens` as `a{sas}`; or `token` as `s` (empty: none is needed) and `keep-for` as
/// `u`; or `error-message` and, where it has one, the
/// FlatpakError as `error-code`.
#[must_use]
pub fn results(outcome: Result<Granted, Ended>) -> Results {
    let mut results = Results::new();
    match outcome {
        Ok(Granted::Summary(grant)) => {
            let token = grant.token.as_ref().map_or("", SecretText::expose).to_owned();
            results.insert("token", Value::new(token));
            results.insert("keep-for", Value::new(u32::try_from(grant.keep_for).unwrap_or(u32::MAX)));
        }
        Ok(Granted::Refs(tokens)) => {
            let tokens: HashMap<String, Vec<String>> = tokens.into_iter().collect();
            results.insert("tokens", Value::new(tokens));
        }
        Err(Ended::Cancelled) => {}
        Err(Ended::Refused(refusal)) => {
            results.insert("error-message", Value::new(refusal.to_string()));
            if let Some(code) = refusal.code() {
                results.insert("error-code", Value::new(code));
            }
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::refusal::Refusal;

    #[test]
    fn tokens_have_the_type_that_flatpak_looks_up() {
        let tokens = Tokens::from([("t".to_owned(), vec!["app/a/x/s".to_owned()])]);
        let results = results(Ok(Granted::Refs(tokens)));
        assert_eq!(results["tokens"].value_signature().to_string(), "a{sas}");
    }

    #[test]
    fn a_refusal_has_a_sentence_and_the_code_of_flatpak() {
        let outcome = || -> Result<Granted, Ended> {
            Err(Refusal::SignInFirst { url: "https://shop.example/".to_owned() }.into())
        };
        assert_eq!(code(&outcome()), 2);
        let results = results(outcome());
        let sentence =
            "Sign in first: run `flatpass-authenticator login https://shop.example/`, then try again.";
        assert_eq!(results["error-message"], Value::from(sentence));
        assert_eq!(results["error-code"], Value::from(23_i32));
    }
}
