//! When a certificate (X.509, DER) ends.

use flatpass_token::UnixTime;

use super::moment::parse_until;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which stands first in all but the oldest certificates.
const VERSION: u8 = 0xa0;

/// Its last moment (`notAfter`, RFC 5280 section 4.1.2.5); `None` if it cannot be read.
pub(super) fn ends_at(der: &[u8]) -> Option<UnixTime> {
    let (certificate, _) = of(SEQUENCE, der)?;
    let (mut rest, _) = of(SEQUENCE, certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // The serial number, the algorithm, and who issued it.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = of(SEQUENCE, rest)?;
    let (_, _, not_after) = element(validity)?;
    let (tag, text, _) = element(not_after)?;
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = digits.split_at(2);
            (format!("{}{year}", if year < "50" { "20" } else { "19" }), rest)
        }
        (GENERALIZED_TIME, 14) => (digits[..4].to_owned(), &digits[4..]),
        _ => return None,
    };
    let (month, day) = (&rest[..2], &rest[2..4]);
    let (hour, minute, second) = (&rest[4..6], &rest[6..8], &rest[8..]);
    parse_until(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

/// The content of the first element, which must be of this kind, and what follows it.
fn of(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The tag and the content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["ann".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 6, 30);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_when_it_ends_and_a_damaged_one_nothing() {
        for year in [2003, 2027, 2049, 2050, 9999] {
            let der = certificate(year);
            assert_eq!(ends_at(&der), parse_until(&format!("{year}-06-30T00:00:00Z")).ok(), "{year}");
            for end in 0..der.len() {
                assert_eq!(ends_at(&der[..end]), None, "{end}");
            }
            for at in 0..der.len() {
                let mut damaged = der.clone();
                damaged[at] = !damaged[at];
                let _does_not_panic = ends_at(&damaged);
            }
        }
        assert_eq!(ends_at(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
