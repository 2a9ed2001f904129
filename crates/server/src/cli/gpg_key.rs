//! Public OpenPGP keys, as operators hand them over: binary or with ASCII armour (RFC 9580, 6).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::failure::Failure;

/// More than any key with its signatures should have.
const LONGEST: usize = 256 * 1024;

/// Reads the file and gives the key as it stands in a `.flatpakrepo`: its bytes in base64, on one line.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let mend = "write one with: gpg --export KEY-ID > FILE";
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::told(format!("cannot read {shown}: {error}"), "name a file that is there")
    })?;
    let key = binary(&bytes).filter(|key| key.len() <= LONGEST);
    match key.as_deref().and_then(|key| key.first()).and_then(|first| packet(*first)) {
        Some(PUBLIC_KEY) => Ok(STANDARD.encode(key.unwrap_or_default())),
        Some(SECRET_KEY) => {
            Err(Failure::told(format!("{shown} is a secret key; clients need the public one"), mend))
        }
        _ => Err(Failure::told(format!("{shown} is no public OpenPGP key"), mend)),
    }
}

const SECRET_KEY: u8 = 5;
const PUBLIC_KEY: u8 = 6;

/// The kind of the packet that begins with this byte (RFC 9580, 4.2).
fn packet(first: u8) -> Option<u8> {
    match first {
        0xc0.. => Some(first & 0x3f),
        0x80.. => Some(first >> 2 & 0x0f),
        _ => None,
    }
}

/// Takes the armour off, if there is one.
fn binary(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.first().is_some_and(|first| *first >= 0x80) {
        return Some(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN PGP"));
    lines.next()?;
    // Headers end at an empty line; the body at the checksum or the end.
    let body: String = lines
        .skip_while(|line| !line.is_empty())
        .take_while(|line| !line.starts_with('=') && !line.starts_with("-----"))
        .collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        read(file.path()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_public_key_is_taken_with_and_without_armour_and_a_secret_one_is_refused() {
        for first in [0x98, 0x99, 0xc6] {
            assert_eq!(file(&[first, 1, 2, 3]), Ok(STANDARD.encode([first, 1, 2, 3])));
        }
        let armoured = |kind: &str, bytes: &[u8]| {
            let body = STANDARD.encode(bytes);
            format!(
                "-----BEGIN PGP {kind} KEY BLOCK-----\nComment: x\n\n{body}\n=abcd\n-----END PGP {kind} KEY BLOCK-----\n"
            )
        };
        let public = armoured("PUBLIC", &[0x99, 1, 2, 3]);
        assert_eq!(file(public.as_bytes()), Ok(STANDARD.encode([0x99, 1, 2, 3])));
        for secret in [vec![0x95, 1, 2], vec![0xc5, 1, 2], armoured("PRIVATE", &[0xc5, 1]).into_bytes()] {
            assert!(file(&secret).unwrap_err().contains("secret key"), "{secret:?}");
        }
        for none in [&b""[..], b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n%%%\n", &[0x88, 1]] {
            assert!(file(none).unwrap_err().contains("no public"), "{none:?}");
        }
    }
}
