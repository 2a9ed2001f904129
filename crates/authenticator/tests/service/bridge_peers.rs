//! The bridge with peers: what they are sent, and what is believed of what they send.

use flatpass_authenticator::bridge::book::BridgedPeers;
use flatpass_authenticator::bridge::lies::Lies;
use flatpass_authenticator::peers::PeerUrl;
use flatpass_ostree::Checksum;

use crate::bridge::{Running, Source};
use crate::upstream::{Reply, Upstream};

/// What a client sends in a pull of a paid app.
const PULL: &str = "Authorization: Bearer clients-own\r\nFlatpak-Ref: app/org.test.Paid/x86_64/stable\r\n";
/// The same in a pull of a free one.
const FREE_PULL: &str = "Flatpak-Ref: app/org.test.Paid/x86_64/stable\r\n";
const TREE: &str = "the names of files";

fn object(content: &str, kind: &str) -> String {
    let hex = Checksum::of(content.as_bytes()).to_hex();
    format!("objects/{}/{}.{kind}", &hex[..2], &hex[2..])
}

async fn origin() -> Upstream {
    Upstream::start(|_| Reply::ok("", TREE)).await
}

/// A bridge whose remote uses this peer.
async fn with_peer(origin: &str, peer: &Upstream, index: bool) -> Running {
    let running = Running::start(&format!("{origin}repo/apps"), Source::token("summary")).await;
    let by_hand = vec![PeerUrl::parse(&peer.url(), "apps").expect("an address")];
    let peers = Some(BridgedPeers { by_hand, index });
    running.book.set_peers(&running.remote.key, peers).await.expect("set");
    running
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

#[tokio::test]
async fn an_object_comes_from_a_peer_which_is_sent_a_token_for_peers_and_nothing_else() {
    let origin = origin().await;
    let peer = Upstream::start(|head| {
        if head.contains("for-peers/") {
            Reply::ok("Set-Cookie: a=b\r\n", TREE)
        } else {
            Reply::status("401 Unauthorized", "", "")
        }
    })
    .await;
    let bridge = with_peer(&origin.url(), &peer, false).await;
    let commit = object(TREE, "commit");
    for (path, more) in
        [(&commit, PULL), (&object(TREE, "dirtree"), PULL), (&object(TREE, "dirmeta"), FREE_PULL)]
    {
        let answer = bridge.get(path, more).await;
        assert!(answer.starts_with("HTTP/1.1 200") && body(&answer) == TREE, "{answer}");
        assert!(!answer.to_lowercase().contains("set-cookie"), "{answer}");
    }
    assert_eq!(origin.heads(), Vec::<String>::new(), "{:?}", peer.heads());
    let hex = Checksum::of(TREE.as_bytes()).to_hex();
    let token = format!("authorization: bearer for-peers/app/org.test.paid/x86_64/stable/{hex}");
    for head in peer.heads() {
        assert!(
            !head.contains("clients-own") && !head.contains("summary") && !head.contains("flatpak-ref"),
            "{head}"
        );
        assert!(head.contains(&token) || !head.contains("authorization"), "{head}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn wrong_bytes_never_reach_the_client_and_the_peer_that_sent_them_is_left_alone() {
    let origin = origin().await;
    let peer = Upstream::start(|_| Reply::ok("", "the names of Files")).await;
    let bridge = with_peer(&origin.url(), &peer, true).await;
    for round in 0..2 {
        let answer = bridge.get(&object(TREE, "dirtree"), PULL).await;
        assert!(answer.contains("HTTP/1.1 200") && body(&answer) == TREE, "{answer}");
        assert_eq!((peer.heads().len(), origin.heads().len()), (1, round + 1));
    }
    let told = Lies::beside(&bridge.book).read();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].file, object(TREE, "dirtree"));
    bridge.end().await;

    // A file object is compared as well, and one that is no such object at all.
    for sent in [TREE, ""] {
        let peer = Upstream::start(move |_| Reply::ok("", sent)).await;
        let bridge = with_peer(&origin.url(), &peer, false).await;
        let answer = bridge.get(&object("a file", "filez"), PULL).await;
        assert!(answer.contains("200 OK") && body(&answer) == TREE, "{answer}");
        assert_eq!(Lies::beside(&bridge.book).read().len(), 1);
        bridge.end().await;
    }
}

#[tokio::test]
async fn a_peer_that_is_silent_cuts_off_or_refuses_costs_little_and_the_store_answers() {
    let origin = origin().await;
    let half = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nthe na", TREE.len()).into_bytes();
    let replies: [fn(Vec<u8>) -> Reply; 4] = [
        |half| Reply::Bytes(half),
        |half| Reply::Silence(half),
        |_| Reply::Silence(Vec::new()),
        |_| Reply::status("404 Not Found", "", ""),
    ];
    for reply in replies {
        let half = half.clone();
        let peer = Upstream::start(move |_| reply(half.clone())).await;
        let bridge = with_peer(&origin.url(), &peer, false).await;
        let answer = bridge.get(&object(TREE, "dirtree"), PULL).await;
        assert!(answer.contains("200 OK") && body(&answer) == TREE, "{answer}");
        assert!(Lies::beside(&bridge.book).read().is_empty(), "who is away has not lied");
        bridge.end().await;
    }
}

#[tokio::test]
async fn deltas_are_left_out_for_a_commit_that_a_peer_has_and_only_then() {
    let origin = origin().await;
    let peer = Upstream::start(|head| {
        if head.contains("/objects/") {
            Reply::ok("", "a commit")
        } else {
            Reply::status("404 Not Found", "", "")
        }
    })
    .await;
    let bridge = with_peer(&origin.url(), &peer, false).await;
    let index = |content: &str| {
        let to = Checksum::of(content.as_bytes());
        flatpass_ostree::RepoPath::DeltaIndex { to }.relative_path()
    };
    let answer = bridge.get(&index("a commit"), PULL).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert_eq!(origin.heads().len(), 0);
    bridge.end().await;
    let peer = Upstream::start(|_| Reply::status("404 Not Found", "", "")).await;
    let bridge = with_peer(&origin.url(), &peer, false).await;
    assert_eq!(body(&bridge.get(&index("another"), PULL).await), TREE);
    assert_eq!(origin.heads().len(), 1);
    bridge.end().await;
}

#[tokio::test]
async fn a_list_of_apps_comes_from_a_peer_only_if_it_is_signed_and_the_store_is_away() {
    let peer = Upstream::start(|_| Reply::ok("", "a list")).await;
    let origin = origin().await;
    let away = format!("http://127.0.0.1:{}/", closed_port().await);
    for (store, signed, listed) in
        [(origin.url(), true, TREE), (away.clone(), true, "a list"), (away, false, "")]
    {
        let bridge = with_peer(&store, &peer, signed).await;
        for path in [
            "summary.idx",
            "config",
            "summaries/0000000000000000000000000000000000000000000000000000000000000000.gz",
        ] {
            let answer = bridge.get(path, "").await;
            if listed.is_empty() {
                assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
            } else {
                assert!(answer.starts_with("HTTP/1.1 200") && body(&answer) == listed, "{answer}");
            }
        }
        bridge.end().await;
    }
    for head in peer.heads() {
        assert!(!head.contains("bearer summary"), "a peer was sent the token for the store's list: {head}");
    }
}

/// A port that nobody listens on.
async fn closed_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    listener.local_addr().expect("bound").port()
}
