//! The one stylesheet. Its name has its hash in it, so it may be kept for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use flatpass_token::SecretHash;

use crate::web::page::PageError;

const STYLE: &str = include_str!("../../static/style.css");

static PATH: LazyLock<String> =
    LazyLock::new(|| format!("/static/{}.css", SecretHash::of(STYLE).to_text().get(..16).unwrap_or("style")));

pub(crate) fn path() -> &'static str {
    &PATH
}

pub(crate) async fn show(Path(file): Path<String>) -> Response {
    if path().strip_prefix("/static/") != Some(&file) {
        return PageError::NotFound.into_response();
    }
    (
        [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        STYLE,
    )
        .into_response()
}
