use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use flatpass_token::{
    Accepts, ForeignCheck, ForeignIssuer, Introspection, IntrospectionError, Introspector, LookupError,
    RefName, TokenKind, UnixTime, Verb, Verifier, VerifyError,
};
use serde_json::{Value, json};

use crate::issuer::{IDP, NOW, TOOL, access_token, changed, issuer, rules, verifier};

#[derive(Debug)]
struct Endpoint {
    answer: Mutex<Result<Value, LookupError>>,
    asked: AtomicUsize,
}

impl Introspector for Endpoint {
    fn introspect(&self, _: &str, _: UnixTime) -> Result<Arc<Introspection>, LookupError> {
        self.asked.fetch_add(1, SeqCst);
        let answer = self.answer.lock().unwrap().clone()?;
        Ok(Arc::new(Introspection::parse(answer.to_string().as_bytes()).unwrap()))
    }

    fn fresh_seconds(&self) -> i64 {
        30
    }
}

struct Scene {
    endpoint: Arc<Endpoint>,
    verifier: Verifier,
}

fn active(changes: Value) -> Value {
    changed(changed(access_token(), json!({ "active": true, "token_type": "Bearer" })), changes)
}

impl Scene {
    fn new(change: impl FnOnce(&mut ForeignIssuer)) -> Self {
        let endpoint = Endpoint { answer: Mutex::new(Ok(active(json!({})))), asked: AtomicUsize::new(0) };
        let endpoint = Arc::new(endpoint);
        let mut idp = issuer(ForeignCheck::Introspection(Arc::clone(&endpoint) as _), rules());
        change(&mut idp);
        let verifier = verifier();
        verifier.set_accepts(Accepts::only(TokenKind::Foreign(Arc::new(idp))));
        Self { endpoint, verifier }
    }

    fn says(&self, answer: Result<Value, LookupError>) {
        *self.endpoint.answer.lock().unwrap() = answer;
    }

    fn opens(&self, token: &str, now: UnixTime) -> Result<bool, VerifyError> {
        let verified = self.verifier.verify_waiting(token, now)?;
        Ok(verified.allows(Verb::Download, &RefName::parse(TOOL).unwrap()))
    }
}

#[test]
fn an_answer_that_contradicts_itself_opens_nothing() {
    let scene = Scene::new(|_| ());
    for (number, (changes, why)) in [
        (json!({ "iss": "https://evil.example" }), VerifyError::Issuer),
        (json!({ "aud": "https://shop.example/repo/other" }), VerifyError::Audience),
        (json!({ "aud": null }), VerifyError::Audience),
        (json!({ "exp": NOW.0 - 60 }), VerifyError::Expired { at: NOW.plus_seconds(-60) }),
        (json!({ "exp": "never" }), VerifyError::Claims),
        (json!({ "nbf": NOW.0 + 60 }), VerifyError::NotYetValid { from: NOW.plus_seconds(60) }),
        (json!({ "token_type": "refresh_token" }), VerifyError::Type),
        (json!({ "token_type": "DPoP" }), VerifyError::Type),
        (json!({ "token_use": "refresh_token" }), VerifyError::IdToken),
        (json!({ "cnf": { "x5t#S256": "x" } }), VerifyError::Bound),
        (json!({ "sub": "", "client_id": null }), VerifyError::Claims),
        (json!({ "active": false }), VerifyError::Inactive),
    ]
    .into_iter()
    .enumerate()
    {
        scene.says(Ok(active(changes.clone())));
        assert_eq!(scene.opens(&format!("t{number}"), NOW), Err(why), "{changes}");
    }
    scene.says(Ok(active(json!({ "iss": null, "exp": null, "token_type": null }))));
    assert_eq!(scene.opens("plain", NOW), Ok(true), "what need not be said is not missed");
    scene.says(Ok(active(json!({ "groups": ["bowling"] }))));
    assert_eq!(scene.opens("bowler", NOW), Ok(false), "and what no rule is about opens nothing");
    let any = Scene::new(|idp| idp.audience = None);
    any.says(Ok(active(json!({ "aud": null }))));
    assert_eq!(any.opens("t", NOW), Ok(true));
}

#[test]
fn answers_that_are_none_cannot_be_read() {
    use IntrospectionError::{Malformed, NoVerdict, TooLarge};
    for (text, why) in [
        ("", Malformed),
        ("<html>200 OK</html>", Malformed),
        ("true", Malformed),
        (r#"[{"active":true}]"#, Malformed),
        (r#"{"active":false,"active":true}"#, Malformed),
        ("{}", NoVerdict),
        (r#"{"active":"true"}"#, NoVerdict),
        (r#"{"active":1}"#, NoVerdict),
        (r#"{"active":null}"#, NoVerdict),
    ] {
        assert_eq!(Introspection::parse(text.as_bytes()).unwrap_err(), why, "{text}");
    }
    let large = format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(64 * 1024));
    assert_eq!(Introspection::parse(large.as_bytes()).unwrap_err(), TooLarge);
    let deep = format!(r#"{{"active":true,"x":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(Introspection::parse(deep.as_bytes()).unwrap_err(), Malformed);
}

#[test]
fn an_answer_is_believed_for_a_while_and_nothing_when_there_is_none() {
    let scene = Scene::new(|_| ());
    assert_eq!(scene.verifier.verify("t", NOW).unwrap_err(), VerifyError::Unasked, "nobody is asked here");
    for second in 0..30 {
        assert_eq!(scene.opens("t", NOW.plus_seconds(second)), Ok(true));
    }
    assert_eq!(scene.endpoint.asked.load(SeqCst), 1);
    // Revoked at the issuer: no longer than the answer is believed.
    scene.says(Ok(json!({ "active": false })));
    assert_eq!(scene.opens("t", NOW.plus_seconds(29)), Ok(true));
    assert_eq!(scene.opens("t", NOW.plus_seconds(30)), Err(VerifyError::Inactive));
    assert_eq!(scene.opens("t", NOW.plus_seconds(34)), Err(VerifyError::Inactive));
    assert_eq!(scene.endpoint.asked.load(SeqCst), 2);
    scene.says(Ok(active(json!({}))));
    assert_eq!(scene.opens("t", NOW.plus_seconds(35)), Ok(true));
    // What was believed is no more when nobody can be asked.
    scene.says(Err(LookupError::Unreachable));
    assert_eq!(scene.opens("t", NOW.plus_seconds(64)), Ok(true));
    assert_eq!(scene.opens("t", NOW.plus_seconds(65)), Err(VerifyError::Unreachable));
    scene.says(Err(LookupError::Busy));
    assert_eq!(scene.opens("other", NOW), Err(VerifyError::Crowded));
}

#[test]
fn its_own_end_counts_before_the_answers() {
    let scene = Scene::new(|_| ());
    scene.says(Ok(active(json!({ "exp": NOW.0 + 10 }))));
    assert_eq!(scene.opens("t", NOW.plus_seconds(14)), Ok(true));
    assert!(matches!(scene.opens("t", NOW.plus_seconds(15)), Err(VerifyError::Expired { .. })));
    assert_eq!(scene.endpoint.asked.load(SeqCst), 1);
}

#[test]
fn invented_tokens_put_none_out_that_is_known() {
    let scene = Scene::new(|_| ());
    assert_eq!(scene.opens("known", NOW), Ok(true));
    scene.says(Ok(json!({ "active": false })));
    for number in 0..20_000 {
        assert_eq!(scene.opens(&format!("invented{number}"), NOW), Err(VerifyError::Inactive));
    }
    scene.says(Err(LookupError::Unreachable));
    assert_eq!(scene.opens("known", NOW), Ok(true));
}

#[test]
fn an_issuer_of_another_name_is_asked_anew() {
    let scene = Scene::new(|_| ());
    assert_eq!(scene.opens("t", NOW), Ok(true));
    let check = ForeignCheck::Introspection(Arc::clone(&scene.endpoint) as _);
    let mut other = issuer(check, rules());
    other.issuer = format!("{IDP}/other");
    scene.verifier.set_accepts(Accepts::only(TokenKind::Foreign(Arc::new(other))));
    assert_eq!(scene.opens("t", NOW), Err(VerifyError::Issuer));
}
