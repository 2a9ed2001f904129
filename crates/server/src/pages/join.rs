//! `GET` and `POST /join/SECRET`: an invitation into a group. Nothing is looked up before the person is signed in, and each look
//! is counted. A link that never was, is used up, too old or taken back is answered alike.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::InvitationError;

use super::words;
use crate::app::{App, Rng};
use crate::web::browser::{Browser, SignedIn};
use crate::web::fields::{Fields, FormError};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, path_segment};

#[derive(Template)]
#[template(path = "join.html")]
struct Join {
    frame: Frame,
    secret: String,
    invitation: Result<Invited, String>,
}

struct Invited {
    group: String,
    role: &'static str,
    until: String,
}

/// Where the link leads, for after the sign-in.
fn here(secret: &str) -> String {
    format!("/join/{}", path_segment(secret))
}

fn page(
    app: &App,
    browser: &Browser,
    secret: &str,
    invitation: Result<Invited, InvitationError>,
) -> Result<Response, PageError> {
    let (status, invitation) = match invitation {
        Ok(invited) => (StatusCode::OK, Ok(invited)),
        Err(InvitationError::Store(error)) => return Err(error.into()),
        Err(error @ InvitationError::Ended) => (StatusCode::NOT_FOUND, Err(error.to_string())),
        Err(error @ InvitationError::AlreadyMember) => (StatusCode::CONFLICT, Err(error.to_string())),
        Err(error) => (StatusCode::FORBIDDEN, Err(error.to_string())),
    };
    let invitation = invitation.map_err(|text| super::sign_up::sentence(&text));
    let (csrf, cookie) = browser.form_token(app);
    let frame = Frame::new(app, browser, csrf);
    let template = Join { frame, secret: path_segment(secret), invitation };
    Ok(render(status, &template, cookie, None))
}

async fn look(app: &App, signed_in: &SignedIn, secret: &str) -> Result<Invited, InvitationError> {
    let (invitation, group) = app.store.invitation(secret, &signed_in.account.id, app.now()).await?;
    let until = words::moment(invitation.expires_at);
    Ok(Invited { group: group.title, role: invitation.role.as_str(), until })
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    Path(secret): Path<String>,
) -> Result<Response, PageError> {
    let signed_in = browser.require(&here(&secret))?;
    app.tries.link(address, &signed_in.account.id).map_err(PageError::TooMany)?;
    let invited = look(&app, signed_in, &secret).await;
    page(&app, &browser, &secret, invited)
}

pub(crate) async fn join(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    Path(secret): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let signed_in = browser.require(&here(&secret))?;
    app.tries.link(address, &signed_in.account.id).map_err(PageError::TooMany)?;
    let rng = &mut Rng::system();
    let joined =
        app.store.join_by_invitation(&secret, &signed_in.account.id, app.now(), rng.as_random()).await;
    match joined {
        Ok(_) => Ok(see_other("/account", None)),
        Err(error) => page(&app, &browser, &secret, Err(error)),
    }
}
