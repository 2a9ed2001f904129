//! The path of a request object. The client computes it too and refuses any other ("wrong handle").

use zbus::zvariant::OwnedObjectPath;

use super::REQUEST_PATH_PREFIX;

/// The longest handle token that is taken, in bytes. Flatpak's own are small numbers.
const MAX_TOKEN_BYTES: usize = 255;

/// The object path for a request of `sender` (a unique bus name such as `:1.42`) with this handle token: the name
/// without its colon and with underscores for dots, then the token.
///
/// `None` if the token is not one of letters, digits and underscores, or the sender is not a unique name.
#[must_use]
pub fn request_path(sender: &str, token: &str) -> Option<OwnedObjectPath> {
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let sender = sender.strip_prefix(':')?.replace('.', "_");
    if !is_word(&sender) || !is_word(token) || token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    OwnedObjectPath::try_from(format!("{REQUEST_PATH_PREFIX}{sender}/{token}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handle_is_the_path_that_flatpak_computes() {
        let path = request_path(":1.42", "7").expect("valid");
        assert_eq!(path.as_str(), "/org/freedesktop/Flatpak/Authenticator/request/1_42/7");
        for (sender, token) in [
            (":1.42", ""),
            (":1.42", "a/b"),
            (":1.42", "a-b"),
            (":1.42", "\u{e9}"),
            ("org.example", "7"),
            (":", "7"),
        ] {
            assert_eq!(request_path(sender, token), None, "{sender} {token}");
        }
        assert_eq!(request_path(":1.42", &"a".repeat(256)), None);
    }
}
