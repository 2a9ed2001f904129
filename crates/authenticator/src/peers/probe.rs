//! Whether a peer answers.

use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};

use super::address::PeerUrl;

/// A peer is in the same building.
const CONNECT: Duration = Duration::from_millis(700);
const TOTAL: Duration = Duration::from_secs(2);

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// It has this repo.
    Yes,
    /// Somebody answers, who has not.
    Otherwise(StatusCode),
    /// Nobody does.
    No,
}

/// Asks a peer for the configuration of its repo, which libostree asks for first as well. No token is sent.
pub async fn probe(peer: &PeerUrl) -> Answers {
    let client = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build();
    let (Ok(client), Some(url)) = (client, peer.file("config")) else { return Answers::No };
    match client.get(url).send().await {
        // A list that is private is refused to who brings no token.
        Ok(answer) if answer.status().is_success() || answer.status() == StatusCode::UNAUTHORIZED => {
            Answers::Yes
        }
        Ok(answer) => Answers::Otherwise(answer.status()),
        Err(_) => Answers::No,
    }
}
