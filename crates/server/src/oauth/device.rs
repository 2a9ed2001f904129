//! `GET /device`, `POST /device` (RFC 8628, 3.3): where a person types the code that a device shows, sees which device it is, and
//! lets it in or not.
//!
//! A code that is not good is answered alike whatever is wrong with it, and each look at one is counted: codes are short.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::shortened;

use super::authorize::{Detail, device_name, read_details};
use crate::app::App;
use crate::pages::words;
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render};
use crate::web::{ClientAddress, query_value};

#[derive(Template)]
#[template(path = "device_code.html")]
struct EnterCode {
    frame: Frame,
    code: String,
    wrong: bool,
}

struct ToBuy {
    title: String,
    price: String,
    link: String,
}

#[derive(Template)]
#[template(path = "device_allow.html")]
struct AllowDevice {
    frame: Frame,
    code: String,
    device: String,
    address: String,
    since: String,
    to_buy: Vec<ToBuy>,
}

#[derive(Template)]
#[template(path = "device_done.html")]
struct Done {
    frame: Frame,
    allowed: bool,
}

/// The path that leads to the page with this code again.
fn here(code: &str) -> String {
    if code.is_empty() { "/device".to_owned() } else { format!("/device?user_code={}", query_value(code)) }
}

fn enter(app: &App, browser: &Browser, code: &str, wrong: bool) -> Response {
    let (csrf, cookie) = browser.form_token(app);
    let status = if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let code = shortened(code, 20);
    render(status, &EnterCode { frame: Frame::new(app, browser, csrf), code, wrong }, cookie, None)
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let Query(query) = query?;
    let code = query.text("user_code");
    let signed_in = browser.require(&here(code))?;
    if code.is_empty() {
        return Ok(enter(&app, &browser, "", false));
    }
    app.tries.device_code(address, &signed_in.account.id).map_err(PageError::TooMany)?;
    let Some(request) = app.store.device_request(code, app.now()).await? else {
        return Ok(enter(&app, &browser, code, true));
    };
    // A repo may have gone since the device asked: then there is nothing to buy in it.
    let details = read_details(&app, &request.details).unwrap_or_default();
    let link = |offer: &flatpass_store::StoredOffer| {
        format!("/apps/{}/{}?next={}", offer.repo, offer.app_id, query_value(&here(code)))
    };
    let to_buy = Detail::to_buy(&details, &app, signed_in).await?.into_iter().map(|offer| ToBuy {
        link: link(&offer),
        price: offer.price.to_string(),
        title: offer.title,
    });
    let (csrf, cookie) = browser.form_token(&app);
    let page = AllowDevice {
        frame: Frame::new(&app, &browser, csrf),
        code: code.to_owned(),
        device: device_name(&request.device_name),
        address: request.address,
        since: words::moment(request.created_at),
        to_buy: to_buy.collect(),
    };
    Ok(render(StatusCode::OK, &page, cookie, None))
}

pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let code = form.text("user_code");
    let signed_in = browser.require(&here(code))?;
    let account = &signed_in.account.id;
    app.tries.device_code(address, account).map_err(PageError::TooMany)?;
    let allowed = form.text("decision") == "allow";
    if !app.store.decide_device_request(code, account, allowed, app.now()).await? {
        return Ok(enter(&app, &browser, code, true));
    }
    let (csrf, cookie) = browser.form_token(&app);
    Ok(render(StatusCode::OK, &Done { frame: Frame::new(&app, &browser, csrf), allowed }, cookie, None))
}
