//! Reference tokens of the store itself.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use flatpass_token::{
    Accepts, Claims, Former, Grant, KeySet, Lookup, LookupError, RefName, Reference, Revocations, SigningKey,
    TokenKind, UnixTime, Verb, Verifier, VerifierConfig, VerifyError,
};

use crate::issuer::{NOW, REPO, STORE, TOOL};

const TOKEN: &str = "fpx_AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH";
const OTHER: &str = "fpx_AAAABBBBCCCCDDDDEEEEFFFFGGGGXXXX";

#[derive(Debug, Default)]
struct Desk {
    known: Mutex<Option<Reference>>,
    is_away: Mutex<bool>,
    asked: AtomicUsize,
}

impl Lookup for Desk {
    fn reference(&self, secret: &str, _: UnixTime) -> Result<Option<Reference>, LookupError> {
        self.asked.fetch_add(1, SeqCst);
        if *self.is_away.lock().unwrap() {
            return Err(LookupError::Unreachable);
        }
        Ok(self.known.lock().unwrap().clone().filter(|_| secret == TOKEN))
    }
}

struct Scene {
    desk: Arc<Desk>,
    gate: Verifier,
    key: SigningKey,
}

fn grants() -> Vec<Grant> {
    vec![Grant::for_ids(&[Verb::Download], ["com.acme.Tool"])]
}

impl Scene {
    fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let gate = Verifier::new(VerifierConfig::new(STORE, REPO), KeySet::new().with(&key));
        let desk = Arc::new(Desk::default());
        *desk.known.lock().unwrap() = Some(Reference {
            id: "rft_1".into(),
            subject: "acc_ada".into(),
            session: "dev_1".into(),
            grants: grants(),
            issued_at: NOW,
            expires_at: NOW.plus_seconds(3600),
        });
        gate.set_lookup(Some(Arc::clone(&desk) as _));
        gate.set_accepts(Accepts::only(TokenKind::Reference));
        Self { desk, gate, key }
    }

    fn opens(&self, token: &str, now: UnixTime) -> Result<bool, VerifyError> {
        let verified = self.gate.verify_waiting(token, now)?;
        Ok(verified.allows(Verb::Download, &RefName::parse(TOOL).unwrap()))
    }

    fn signed(&self, iat: UnixTime) -> String {
        let claims = Claims {
            iss: STORE.into(),
            aud: REPO.into(),
            sub: "acc_ada".into(),
            client_id: "c".into(),
            sid: Some("dev_1".into()),
            iat,
            exp: iat.plus_seconds(3600),
            nbf: None,
            jti: "tok".into(),
            authorization_details: grants(),
        };
        self.key.sign(&claims).unwrap()
    }
}

#[test]
fn a_reference_token_is_looked_up_once_in_a_minute_and_only_where_it_may_take_its_time() {
    let scene = Scene::new();
    assert_eq!(scene.gate.verify(TOKEN, NOW).unwrap_err(), VerifyError::Unasked);
    assert_eq!(scene.desk.asked.load(SeqCst), 0);
    assert_eq!(scene.opens(TOKEN, NOW), Ok(true));
    assert!(scene.gate.verify(TOKEN, NOW.plus_seconds(59)).is_ok(), "without waiting from now on");
    assert_eq!(scene.gate.verify(TOKEN, NOW.plus_seconds(60)).unwrap_err(), VerifyError::Unasked);
    assert_eq!(scene.opens(OTHER, NOW), Err(VerifyError::Malformed));
    assert_eq!(scene.gate.verify(OTHER, NOW.plus_seconds(4)).unwrap_err(), VerifyError::Malformed);
    assert_eq!(scene.gate.verify(OTHER, NOW.plus_seconds(5)).unwrap_err(), VerifyError::Unasked);
    assert_eq!(scene.desk.asked.load(SeqCst), 2);
}

#[test]
fn it_ends_with_its_time_its_device_its_account_itself_and_its_rights_at_once() {
    let scene = Scene::new();
    assert_eq!(scene.opens(TOKEN, NOW), Ok(true));
    for revocations in [
        Revocations::new().with_id("rft_1"),
        Revocations::new().with_session("dev_1"),
        Revocations::new().with_subject("acc_ada", NOW),
    ] {
        scene.gate.set_revocations(revocations);
        assert_eq!(scene.opens(TOKEN, NOW), Err(VerifyError::Revoked));
    }
    scene.gate.set_revocations(Revocations::new().with_lost("acc_ada", NOW, grants().remove(0)));
    assert_eq!(scene.opens(TOKEN, NOW), Ok(false), "what the account lost");
    scene.gate.set_revocations(Revocations::new());
    assert_eq!(scene.opens(TOKEN, NOW), Ok(true));
    let end = NOW.plus_seconds(3600);
    assert_eq!(
        scene.opens(TOKEN, end),
        Err(VerifyError::Expired { at: end }),
        "to the second: it is one clock"
    );
}

#[test]
fn nothing_is_good_that_cannot_be_looked_up() {
    let scene = Scene::new();
    assert_eq!(scene.opens(TOKEN, NOW), Ok(true));
    *scene.desk.is_away.lock().unwrap() = true;
    assert_eq!(scene.opens(TOKEN, NOW.plus_seconds(59)), Ok(true));
    assert_eq!(scene.opens(TOKEN, NOW.plus_seconds(60)), Err(VerifyError::Unreachable));
    *scene.desk.is_away.lock().unwrap() = false;
    *scene.desk.known.lock().unwrap() = None;
    assert_eq!(scene.opens(TOKEN, NOW.plus_seconds(60)), Err(VerifyError::Malformed));
    scene.gate.set_lookup(None);
    assert_eq!(scene.opens(TOKEN, NOW), Err(VerifyError::Malformed));
}

#[test]
fn a_repo_that_changes_the_kind_takes_what_was_made_before_until_it_ends() {
    let scene = Scene::new();
    let (before, later) = (scene.signed(NOW), scene.signed(NOW.plus_seconds(120)));
    let at = NOW.plus_seconds(120);
    assert_eq!(scene.opens(&before, at), Err(VerifyError::OtherKind), "without a word of a kind before");
    let former =
        |kind| Some(Former { kind, made_until: NOW.plus_seconds(60), good_until: NOW.plus_seconds(3600) });
    scene.gate.set_accepts(Accepts { kind: TokenKind::Reference, former: former(TokenKind::Signed) });
    assert_eq!(scene.opens(&before, at), Ok(true));
    assert_eq!(scene.opens(&later, at), Err(VerifyError::OtherKind), "made afterwards");
    assert_eq!(scene.opens(TOKEN, at), Ok(true));
    // And back again.
    scene.gate.set_accepts(Accepts { kind: TokenKind::Signed, former: former(TokenKind::Reference) });
    assert_eq!(scene.opens(TOKEN, at), Ok(true));
    assert_eq!(scene.opens(&later, at), Ok(true));
    let end = NOW.plus_seconds(3599);
    assert_eq!(scene.opens(TOKEN, end), Ok(true));
    scene.gate.set_accepts(Accepts {
        kind: TokenKind::Signed,
        former: Some(Former { good_until: end, ..former(TokenKind::Reference).unwrap() }),
    });
    assert_eq!(scene.opens(TOKEN, end), Err(VerifyError::OtherKind));
    scene.gate.set_accepts(Accepts::only(TokenKind::None));
    assert_eq!(scene.opens(TOKEN, at), Err(VerifyError::OtherKind));
    assert_eq!(scene.opens(&later, at), Err(VerifyError::OtherKind));
}
