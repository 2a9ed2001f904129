//! `GET /`, `GET /healthz` and everything that is not there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_gate::ObjectIndexState;
use flatpass_store::RepoPolicy;
use flatpass_token::UnixTime;

use super::words;

use crate::app::App;
use crate::config::SignUpDoor;
use crate::snapshot::RepoView;
use crate::web::browser::Browser;
use crate::web::page::{Frame, PageError, render};

struct Item {
    link: String,
    title: String,
    price: String,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    offers: Vec<Item>,
    /// People make accounts themselves.
    sign_up: bool,
}

pub(crate) async fn show(State(app): State<Arc<App>>, browser: Browser) -> Response {
    let (csrf, cookie) = browser.form_token(&app);
    let snapshot = app.snapshot.load();
    let offers = snapshot
        .repos
        .values()
        .filter(|view| view.repo.policy != RepoPolicy::Private)
        .flat_map(|view| view.offers.values())
        .map(|offer| Item {
            link: format!("/apps/{}/{}", offer.repo, offer.app_id),
            title: offer.title.clone(),
            price: offer.price.to_string(),
        })
        .collect();
    let sign_up = app.config.accounts.sign_up == SignUpDoor::Open;
    render(StatusCode::OK, &Home { frame: Frame::new(&app, &browser, csrf), offers, sign_up }, cookie, None)
}

/// 200 while the database answers and changes are taken up. Gates go on serving by what was read last also when it says 503.
pub(crate) async fn health(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let wrong = |text: String| (StatusCode::SERVICE_UNAVAILABLE, text);
    if app.store.change_counter().await.is_err() {
        return wrong("the database does not answer\n".to_owned());
    }
    match app.stuck_since.load(Ordering::Relaxed) {
        0 => (StatusCode::OK, format!("ok\n{}", being_read(&app))),
        since => wrong(format!("no change was taken up since {}\n", words::moment(UnixTime(since)))),
    }
}

/// How many repos have an object index that is not ready, so that their objects are answered with 503. Anybody may ask, so no names:
/// the log has them.
fn being_read(app: &App) -> String {
    let snapshot = app.snapshot.load();
    let is_read =
        |view: &&Arc<RepoView>| view.objects.as_ref().is_some_and(|index| is_being_read(index.state()));
    match snapshot.repos.values().filter(is_read).count() {
        0 => String::new(),
        count => format!("the objects of repositories are being read: {count}\n"),
    }
}

const fn is_being_read(state: ObjectIndexState) -> bool {
    matches!(state, ObjectIndexState::Building { .. })
}

pub(crate) async fn not_found() -> PageError {
    PageError::NotFound
}
