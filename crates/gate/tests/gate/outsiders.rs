//! What strangers can find out: nothing, neither from answers nor from what it takes to make them. Threats 2, 3 and 17.

use std::path::Path;
use std::time::{Duration, Instant};

use flatpass_gate::Listing;
use flatpass_token::{Claims, Grant, Verb};
use rustix::fs::inotify;

use crate::shop::{Desk, MOUNT, PAID, Shop, basic};
use crate::wire::{Server, without_date};

/// Where a repo could be and none is.
const NOWHERE: &str = "/repo/no-such";

#[test]
fn a_private_repo_and_one_that_does_not_exist_answer_alike() {
    let shop = Shop::build();
    let desk = Desk::private(shop.repo(), Listing::Shared);
    let server = Server::start(&desk);
    let everything = [Grant::for_everything(&Verb::ALL)];
    let elsewhere = Claims { aud: "https://shop.example/repo/other".to_owned(), ..desk.claims(&everything) };
    let elsewhere = format!("Bearer {}", desk.key.sign(&elsewhere).unwrap());
    let credentials = ["", "Bearer x", "Bearer a.b.c", "Basic eDp5", "Basic ???", "Digest x", &elsewhere];
    let paths = ["summary", "config", "", "a//b", &shop.commit(PAID), "refs/heads/../x", "%2e%2e/x"];
    for authorization in credentials {
        let fields: Vec<_> =
            [("Authorization", authorization)].into_iter().filter(|f| !f.1.is_empty()).collect();
        for path in paths {
            // DELETE goes through hyper, the others do not.
            for method in ["GET", "HEAD", "DELETE"] {
                let ask = |mount: &str| {
                    let reply =
                        without_date(server.connect().ask(method, &format!("{mount}/{path}"), &fields));
                    let text = format!("{reply:?}");
                    (reply.status, text.replace(mount, "MOUNT"))
                };
                let (there, not_there) = (ask(MOUNT), ask(NOWHERE));
                assert_eq!(there, not_there, "{method} {path} {authorization}");
                assert_eq!(there.0, 401);
            }
        }
    }
    // What cannot be a repo's name is none of ours, and a good token still opens the repo that is there.
    assert!(server.connect().ask("GET", "/repo/../summary", &[]).text().starts_with("fallback"));
    assert!(server.connect().ask("GET", NOWHERE, &[]).text().starts_with("fallback"));
    assert_eq!(server.get_as(&desk.bearer(&everything), "summary").status, 200);
}

/// Everything below the folder that is opened or read while `work` runs.
fn opened_during(root: &Path, work: impl FnOnce()) -> usize {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let events = inotify::WatchFlags::OPEN | inotify::WatchFlags::ACCESS;
    let mut folders = vec![root.to_owned()];
    let mut at = 0;
    while let Some(folder) = folders.get(at) {
        let below = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let below: Vec<_> = below.filter(|path| path.is_dir()).collect();
        folders.extend(below);
        at += 1;
    }
    // Only now, or the look around would be noticed itself.
    for folder in &folders {
        inotify::add_watch(&watch, folder, events).unwrap();
    }
    work();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    std::iter::from_fn(|| reader.next().ok().map(drop)).count()
}

#[test]
fn nothing_of_a_private_repo_is_opened_before_the_token_is_good() {
    let shop = Shop::build();
    let desk = Desk::private(shop.repo(), Listing::Shared);
    let server = Server::start(&desk);
    let paths = ["summary".to_owned(), "config".to_owned(), shop.commit(PAID), "no/such".to_owned()];
    let good = desk.bearer(&[Grant::for_everything(&Verb::ALL)]);
    let ask = |authorization: &str| {
        for path in &paths {
            for method in ["GET", "HEAD", "POST"] {
                let target = format!("{MOUNT}/{path}");
                server.connect().ask(method, &target, &[("Authorization", authorization)]);
            }
            // So that what is looked at now and then would be looked at.
            desk.clock.advance_millis(5000);
        }
    };
    for bad in ["Bearer x", "Basic eDp5", "", &basic("device", "fpt_wrong")] {
        assert_eq!(opened_during(&shop.repo(), || ask(bad)), 0, "{bad}");
    }
    assert!(opened_during(&shop.repo(), || ask(&good)) > 0, "it would have been noticed");
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Generous, because other programs run beside this one; what it would find, a look at the disk or a lookup in a database, takes longer.
#[test]
fn how_long_an_answer_takes_says_nothing() {
    let shop = Shop::build();
    let desk = Desk::private(shop.repo(), Listing::Shared);
    let server = Server::start(&desk);
    let commit = shop.commit(PAID);
    let targets = [
        format!("{MOUNT}/{commit}"),
        format!("{MOUNT}/summary"),
        format!("{MOUNT}/{}", commit.replace('0', "1")),
        format!("{NOWHERE}/{commit}"),
    ];
    let mut client = server.connect();
    for authorization in ["Bearer x.y.z", "Basic eDp5"] {
        // Once more when something else took the processor away.
        let even = (0..5).any(|_| {
            let mut times = targets.each_ref().map(|_| Vec::new());
            for _ in 0..400 {
                for (target, times) in targets.iter().zip(&mut times) {
                    let start = Instant::now();
                    assert_eq!(client.ask("GET", target, &[("Authorization", authorization)]).status, 401);
                    times.push(start.elapsed());
                }
            }
            let medians = times.map(median);
            let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
            *most < *least * 5 / 4 + Duration::from_micros(15)
        });
        assert!(even, "{authorization}");
    }
}
