//! What tokens are asked `for`: the repo itself, its peers, servers that may be either, or a peer that carries apps on.

use flatpass_ostree::Checksum;
use flatpass_token::{PEERS, Verb};
use serde::Deserialize;

use super::Sorted;
use super::denied::{Denied, no_commit, no_export};
use super::issue::{Granted, OfCommits};
use crate::app::App;
use crate::snapshot::RepoView;
use crate::visitor::Visitor;

/// What a peer, or who looks like one, gets in its hands lives no longer than this.
const NARROW_SECONDS: i64 = 600;

/// Where the tokens are going to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// To the repo itself.
    #[default]
    Origin,
    /// To peers alone: the repo itself refuses them.
    Peers,
    /// To the repo and to servers that say they have the same, by a client that sends one token to all.
    Mirrors,
    /// To the repo itself, by a peer that carries the apps on.
    Export,
}

impl Purpose {
    /// The `aud` of the tokens.
    pub(super) fn audience(self, view: &RepoView) -> String {
        match self {
            Self::Origin | Self::Mirrors | Self::Export => view.url.clone(),
            Self::Peers => format!("{}{PEERS}", view.url),
        }
    }

    /// The longest that they may live.
    pub(super) fn seconds(self, app: &App) -> i64 {
        let longest = app.config.tokens.ref_token_seconds;
        match self {
            Self::Origin | Self::Export => longest,
            Self::Peers | Self::Mirrors => longest.min(NARROW_SECONDS),
        }
    }

    /// Takes what is granted back to what the purpose allows: single commits, and for a peer that carries apps on only what the
    /// account may carry on.
    pub(super) fn limit(
        self,
        view: &RepoView,
        visitor: &Visitor,
        commits: &Named<'_>,
        sorted: &mut Sorted<'_>,
    ) {
        if self == Self::Origin {
            return;
        }
        for mut granted in std::mem::take(&mut sorted.granted) {
            let owner = view.owner(&granted.name);
            if self == Self::Export && !visitor.may(owner, granted.name.branch(), Verb::Export) {
                sorted.denied.push(no_export(view, owner, granted.asked));
                continue;
            }
            match commits.of(view, &granted) {
                Ok(only) => {
                    granted.commits = OfCommits { only: Some(only), ..granted.commits };
                    sorted.granted.push(granted);
                }
                Err(denied) => sorted.denied.push(denied),
            }
        }
    }
}

/// The commits that a request named, by ref.
pub(super) struct Named<'a>(pub(super) Vec<(&'a str, Checksum)>);

impl Named<'_> {
    /// The one commit that a narrow token for this ref is about: the named one, else the one that the ref has.
    fn of<'a>(&self, view: &RepoView, granted: &Granted<'a>) -> Result<String, Denied<'a>> {
        if let Some(only) = &granted.commits.only {
            return Ok(only.clone());
        }
        let named = self.0.iter().find(|(name, _)| *name == granted.asked).map(|(_, commit)| *commit);
        let commit = named.or_else(|| view.refs.find(granted.asked).map(|listed| listed.commit));
        commit.map(|commit| commit.to_hex()).ok_or_else(|| no_commit(view, &granted.name, granted.asked))
    }
}
