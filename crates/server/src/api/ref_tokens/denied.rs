//! Refs that no token is given for: why, in a sentence that a person can act on.

use flatpass_oci::client::RegistryError;
use flatpass_store::{Entitlement, Registry, StoredOffer};
use flatpass_token::{RefName, UnixTime};
use serde::Serialize;

use super::Sorted;
use crate::app::App;
use crate::broker::{NoToken, host_of};
use crate::snapshot::RepoView;
use crate::visitor::{Right, Visitor};

#[derive(Debug, Serialize)]
pub(super) struct Denied<'a> {
    pub(super) r#ref: &'a str,
    pub(super) reason: Reason,
    /// The id of the app that somebody would have to have.
    pub(super) app: String,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    SignInRequired,
    PurchaseRequired,
    /// The account has older commits of it, not this one.
    UpgradeRequired,
    NotFound,
    /// Somebody else issues the tokens of the repo.
    Elsewhere,
    /// The account may have it, but not carry it on to a peer.
    ExportRequired,
    /// The account may have it, but the registry that it is in gives no token for it now.
    Unavailable,
}

/// What was sent is no ref.
pub(super) fn no_ref(asked: &str) -> Denied<'_> {
    let message = format!("{} is not a ref of an app or runtime.", super::shown(asked));
    Denied { r#ref: asked, reason: Reason::NotFound, app: String::new(), message, url: None }
}

/// The repo does not have the ref, perhaps only for this branch or architecture.
pub(super) fn absent<'a>(view: &RepoView, name: &RefName, asked: &'a str) -> Denied<'a> {
    Denied {
        r#ref: asked,
        reason: Reason::NotFound,
        app: view.owner(name).to_owned(),
        message: format!("{asked} is not in {}. Check its name, branch and architecture.", view.url),
        url: None,
    }
}

/// A peer may have it, but must not carry it on.
pub(super) fn no_export<'a>(view: &RepoView, owner: &str, asked: &'a str) -> Denied<'a> {
    let message = format!(
        "This account may not carry {owner} on to a peer. Ask whoever runs the store for the right to export it: flatpass grant ACCOUNT {} \
         {owner} --verbs download,upgrade,export.",
        view.repo.name
    );
    Denied { r#ref: asked, reason: Reason::ExportRequired, app: owner.to_owned(), message, url: None }
}

/// A token for one commit is asked for, and nobody knows which.
pub(super) fn no_commit<'a>(view: &RepoView, name: &RefName, asked: &'a str) -> Denied<'a> {
    Denied {
        r#ref: asked,
        reason: Reason::NotFound,
        app: view.owner(name).to_owned(),
        message: format!("{asked} has no commit in the summary of {}. Name the commit.", view.url),
        url: None,
    }
}

/// Why one app is refused to a visitor, and where it can be bought.
struct Case<'a> {
    app: &'a App,
    view: &'a RepoView,
    /// What can be bought, by who may know that.
    offer: Option<&'a StoredOffer>,
    owner: &'a str,
}

impl<'a> Case<'a> {
    fn new(app: &'a App, view: &'a RepoView, visitor: &Visitor, owner: &'a str) -> Self {
        Self { app, view, offer: view.offers.get(owner).filter(|_| visitor.sees), owner }
    }

    fn url(&self) -> Option<String> {
        self.offer.map(|_| self.app.config.at(&format!("apps/{}/{}", self.view.repo.name, self.owner)))
    }

    /// The app with its title, if it is known.
    fn what(&self) -> String {
        match self.offer {
            Some(offer) if offer.title != self.owner => format!("{} ({})", offer.title, self.owner),
            _ => self.owner.to_owned(),
        }
    }

    /// The next step of somebody who had it.
    fn again(&self, verb: &str) -> String {
        match self.url() {
            Some(url) => format!("{verb} at {url}"),
            None => format!("Ask whoever runs {}", self.app.config.issuer()),
        }
    }

    fn denied<'b>(&self, asked: &'b str, reason: Reason, message: String) -> Denied<'b> {
        Denied { r#ref: asked, reason, app: self.owner.to_owned(), message, url: self.url() }
    }

    /// For whom it is a matter of buying, if it can be bought.
    fn to_buy(&self) -> Reason {
        if self.offer.is_some() { Reason::PurchaseRequired } else { Reason::NotFound }
    }
}

/// The visitor may not have the ref, which belongs to the app `owner`.
pub(super) fn refuse<'a>(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    owner: &str,
    branch: &str,
    asked: &'a str,
) -> Denied<'a> {
    let case = Case::new(app, view, visitor, owner);
    let store = app.config.issuer();
    if !visitor.signed_in {
        return Denied {
            url: Some(app.config.at("sign-in")),
            ..case.denied(
                asked,
                Reason::SignInRequired,
                format!("{owner} needs an account at {store}. Sign in to get it."),
            )
        };
    }
    let what = case.what();
    let message = match (visitor.right(owner, branch), case.offer, case.url()) {
        (Right::Ended(at), ..) => format!(
            "Your right to {what} ended on {}. The version you have keeps working. {}.",
            day(at),
            case.again("Buy it again")
        ),
        (Right::OtherBranches(branches), ..) => format!(
            "Your right covers the branch {} of {what}, not {branch}. {}.",
            branches.join(" and "),
            case.again("Buy it")
        ),
        (_, Some(offer), Some(url)) => format!(
            "Your account has not bought {what} yet: {}. Buy it at {url}, then try again.",
            offer.price
        ),
        _ => format!(
            "Your account may not have {owner}, and it is not for sale at {store}. Ask whoever runs the store."
        ),
    };
    case.denied(asked, case.to_buy(), message)
}

/// The visitor may have the ref, but not in a version as new as the one that is wanted.
pub(super) fn too_new<'a>(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    owner: &str,
    right: &Entitlement,
    asked: &'a str,
) -> Denied<'a> {
    let case = Case::new(app, view, visitor, owner);
    let what = case.what();
    let ended = match right.upgrades_until.filter(|until| right.commits_until() == Some(*until)) {
        Some(until) => format!("Your right to updates of {what} ended on {}.", day(until)),
        None => {
            format!("Your right to {what} is to its version of {}, without updates.", day(right.starts_at))
        }
    };
    // Without a token for one app flatpak updates nothing at all.
    let message = format!(
        "{ended} The version you have keeps working. {} to get newer ones; until then `flatpak mask {owner}` lets other updates pass.",
        case.again("Renew it")
    );
    case.denied(asked, Reason::UpgradeRequired, message)
}

/// The visitor may have the ref, but not all that flat-manager opens with it.
pub(super) fn inexact<'a>(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    owner: &str,
    asked: &'a str,
) -> Denied<'a> {
    let case = Case::new(app, view, visitor, owner);
    let message = format!(
        "Your right covers a part of {} only, and the server that this repository is on gives all of an app or nothing. {}.",
        case.what(),
        case.again("Buy the rest")
    );
    case.denied(asked, case.to_buy(), message)
}

/// The visitor may have the ref, but its registry gives the store no token for it.
pub(super) fn unavailable<'a>(
    app: &App,
    registry: &Registry,
    owner: &str,
    why: &NoToken,
    asked: &'a str,
) -> Denied<'a> {
    let (host, store) = (host_of(registry), app.config.issuer());
    let message = match why {
        why if why.will_pass() => format!(
            "{owner} cannot be downloaded at this moment: its registry {host} cannot be reached. Try again later."
        ),
        NoToken::Registry(RegistryError::PasswordsOnly { .. }) => format!(
            "{owner} cannot be downloaded: its registry {host} takes passwords only, and {store} cannot pass its own on. Ask whoever runs the store."
        ),
        _ => format!(
            "{owner} cannot be downloaded: its registry {host} gives {store} no token for it. Ask whoever runs the store."
        ),
    };
    Denied { r#ref: asked, reason: Reason::Unavailable, app: owner.to_owned(), message, url: None }
}

/// In a repo whose tokens somebody else issues there are none to be had here: who may know what is in it is told where.
pub(super) fn elsewhere<'a>(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    issuer: Option<&str>,
    sorted: Sorted<'a>,
) -> Sorted<'a> {
    let store = app.config.issuer();
    let issuer = issuer.unwrap_or("another issuer");
    let told = |asked: &'a str, owner: String| Denied {
        r#ref: asked,
        reason: Reason::Elsewhere,
        message: format!(
            "{owner} is opened by tokens of {issuer}, which Flatpak cannot get by itself. Send one with the request, or ask whoever runs \
             {store} for an access token for the remote's address."
        ),
        app: owner,
        url: None,
    };
    let Sorted { granted, open, denied } = sorted;
    let mut all: Vec<_> =
        granted.into_iter().map(|one| told(one.asked, view.owner(&one.name).to_owned())).collect();
    all.extend(denied.into_iter().map(|one| match one.reason {
        Reason::SignInRequired | Reason::PurchaseRequired | Reason::UpgradeRequired if visitor.sees => {
            told(one.r#ref, one.app)
        }
        _ => one,
    }));
    Sorted { granted: Vec::new(), open, denied: all }
}

/// Its repository in the registry was not wholly seen, so nobody knows what a token for it would open.
pub(super) fn not_seen<'a>(app: &App, registry: &Registry, owner: &str, asked: &'a str) -> Denied<'a> {
    let (host, store) = (host_of(registry), app.config.issuer());
    let message = format!(
        "{owner} cannot be downloaded at this moment: {store} cannot read all of its repository at {host}, or it cannot be reached. Try again later."
    );
    Denied { r#ref: asked, reason: Reason::Unavailable, app: owner.to_owned(), message, url: None }
}

/// The day of a moment, in UTC: `2026-03-01`.
fn day(moment: UnixTime) -> String {
    moment.to_string().chars().take_while(|letter| *letter != 'T').collect()
}
