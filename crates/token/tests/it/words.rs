use flatpass_token::{UnixTime, Verb, VerifyError};

/// RFC 6750 section 3: error_description is made of %x20-21 / %x23-5B / %x5D-7E.
#[test]
fn every_refusal_can_be_an_error_description() {
    let moment = UnixTime(1_800_000_000);
    for error in [
        VerifyError::TooLong,
        VerifyError::Malformed,
        VerifyError::Type,
        VerifyError::Algorithm,
        VerifyError::Critical,
        VerifyError::EmbeddedKey,
        VerifyError::UnknownKey,
        VerifyError::Signature,
        VerifyError::Claims,
        VerifyError::Issuer,
        VerifyError::Audience,
        VerifyError::Expired { at: moment },
        VerifyError::NotYetValid { from: moment },
        VerifyError::IssuedInFuture { at: moment },
        VerifyError::Revoked,
        VerifyError::UnknownSecret,
        VerifyError::NotForPeers,
        VerifyError::TooWide,
        VerifyError::ClockBehind { at: moment, now: moment },
        VerifyError::ExpiredHere { at: moment, now: moment },
        VerifyError::OfflineTooLong { since: moment },
    ] {
        let text = error.description();
        let fits = |c: char| matches!(c, ' '..='!' | '#'..='[' | ']'..='~');
        assert!(text.chars().all(fits) && text.ends_with(['.', '?']) && text.len() < 160, "{text}");
    }
    let expired = VerifyError::Expired { at: moment };
    assert_eq!(expired.description(), "The token expired at 2027-01-15T08:00:00Z.");
}

#[test]
fn a_verb_is_written_and_read_the_same() {
    for verb in Verb::ALL {
        assert_eq!(verb.to_string().parse(), Ok(verb));
        assert_eq!(serde_json::to_string(&verb).expect("JSON"), format!("\"{verb}\""));
    }
    assert!("Download".parse::<Verb>().is_err() && "".parse::<Verb>().is_err());
}
