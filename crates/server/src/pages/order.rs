//! `GET /orders/ID`: one's own order, settled first if the provider has decided.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::OrderId;

use super::words;
use crate::app::App;
use crate::payment;
use crate::web::browser::Browser;
use crate::web::page::{Frame, PageError, render};

#[derive(Template)]
#[template(path = "order.html")]
struct OrderPage {
    frame: Frame,
    title: String,
    price: String,
    state: &'static str,
    date: String,
    offer: String,
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let signed_in = browser.require(&format!("/orders/{}", crate::web::query_value(&id)))?;
    let order = app.store.order(&OrderId(id)).await?.ok_or(PageError::NotFound)?;
    if order.account_id != signed_in.account.id {
        return Err(PageError::NotFound);
    }
    let order = payment::settle(&app, order).await.map_err(|error| {
        tracing::error!(%error, "an order could not be settled");
        PageError::Internal
    })?;
    let (csrf, cookie) = browser.form_token(&app);
    let page = OrderPage {
        frame: Frame::new(&app, &browser, csrf),
        price: order.price.to_string(),
        state: words::order_state(order.state),
        date: words::moment(order.created_at),
        offer: format!("/apps/{}/{}", order.repo, order.app_id),
        title: order.title,
    };
    Ok(render(StatusCode::OK, &page, cookie, None))
}
