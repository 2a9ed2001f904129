//! A company's identity provider: it says where its keys are, and what its tokens are, and does what a test tells it to.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use flatpass_store::{ClaimIs, IntrospectionAt, Issuer, IssuerAudience, RepoTokens};
use flatpass_token::{Grant, Secret, SigningKey, Verb};
use serde_json::{Value, json};

use crate::shop::{Shop, rng};

pub(crate) const CLIENT: &str = "shop gate";
pub(crate) const SECRET: &str = "a secret: with a colon";

/// Status, fields and body.
pub(crate) type Canned = (u16, Vec<(&'static str, String)>, String);

#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Of all requests: the path, what was sent as Authorization, and the body.
    pub(crate) asked: Vec<(String, String, String)>,
    pub(crate) keys: Vec<Value>,
    /// What it says of a token.
    pub(crate) says: Value,
    /// What it answers to whatever it is asked.
    pub(crate) answer: Option<Canned>,
    pub(crate) calls_itself: Option<String>,
}

#[derive(Clone)]
pub(crate) struct IdentityProvider {
    pub(crate) url: String,
    held: Arc<Mutex<Held>>,
}

impl IdentityProvider {
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/staff", listener.local_addr().unwrap());
        let held = Held { says: json!({ "active": false }), ..Held::default() };
        let provider = Self { url, held: Arc::new(Mutex::new(held)) };
        provider.publishes(keys);
        let router = axum::Router::new().fallback(serve).with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub(crate) fn hold<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.held.lock().unwrap())
    }

    pub(crate) fn publishes(&self, keys: &[&SigningKey]) {
        let keys = keys.iter().map(|key| json!(key.public_jwk())).collect();
        self.hold(|held| held.keys = keys);
    }

    /// The paths that were asked for since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.hold(|held| std::mem::take(&mut held.asked)).into_iter().map(|(path, ..)| path).collect()
    }

    /// A token of somebody in these groups, with these changes.
    pub(crate) fn token(&self, shop: &Shop, key: &SigningKey, groups: &Value, changes: &Value) -> String {
        let now = shop.now();
        let mut claims = json!({
            "iss": self.url, "aud": shop.repo_url("apps"), "sub": "u-17", "exp": now.plus_seconds(600), "iat": now,
            "groups": groups,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        key.sign_jwt(&claims, 8000).unwrap()
    }

    /// The repo `apps` takes its tokens; engineers may have the paid app.
    pub(crate) async fn is_issuer_of(&self, shop: &Shop, introspects: bool) {
        let introspection = introspects.then(|| IntrospectionAt {
            url: format!("{}/introspect", self.url),
            client_id: CLIENT.to_owned(),
        });
        let issuer = Issuer {
            name: "acme".to_owned(),
            url: self.url.clone(),
            jwks_url: None,
            introspection,
            audience: IssuerAudience::OfRepo,
            created_at: shop.now(),
        };
        let secret = introspects.then(|| Secret::from(SECRET.to_owned()));
        shop.store.add_issuer(&issuer, secret.as_ref(), &mut rng()).await.unwrap();
        let claim = ClaimIs { path: "groups".to_owned(), value: "engineering".to_owned() };
        let grant = Grant::for_ids(&[Verb::Download, Verb::Upgrade], ["org.test.Paid"]);
        let (now, rng) = (shop.now(), &mut rng());
        shop.store.add_issuer_rule("acme", None, Some(&claim), &grant, now, rng).await.unwrap();
        shop.store.set_repo_tokens("apps", &RepoTokens::Issuer("acme".to_owned()), now).await.unwrap();
        shop.browser()
            .post("/oauth/revoke", &[("client_id", "flatpass-authenticator"), ("token", "x")])
            .await;
    }
}

async fn serve(State(provider): State<IdentityProvider>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let authorization =
        request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let (status, fields, body) = provider.hold(|held| {
        held.asked.push((path.clone(), authorization.unwrap_or_default(), body));
        let json =
            |body: Value| (200, vec![("content-type", "application/json".to_owned())], body.to_string());
        match (&held.answer, path.strip_prefix("/realms/staff/")) {
            (Some(answer), _) => answer.clone(),
            (None, Some(".well-known/openid-configuration")) => {
                let name = held.calls_itself.clone().unwrap_or_else(|| provider.url.clone());
                json(json!({ "issuer": name, "jwks_uri": format!("{}/keys", provider.url) }))
            }
            (None, Some("keys")) => json(json!({ "keys": held.keys })),
            (None, Some("introspect")) => json(held.says.clone()),
            _ => (404, Vec::new(), String::new()),
        }
    });
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}
