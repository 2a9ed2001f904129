//! Which of the wanted apps an account may have.

use std::collections::BTreeSet;

use flatpass_store::AccountId;
use flatpass_token::RefName;

use super::MOST_IDS;
use super::refusal::Refusal;
use crate::api::ref_tokens::{Granted, OfCommits, for_everybody, is_exact, is_for_everybody, owned, why_not};
use crate::app::App;
use crate::snapshot::{Listed, RepoView};
use crate::visitor::{Right, Visitor};

/// What somebody asks for.
pub(super) struct Wanted {
    id: String,
    /// Of a whole ref.
    branch: Option<String>,
}

impl Wanted {
    /// Reads ids or refs; with `whole`, refs alone. As at Flathub, what is between the first two slashes is the id.
    pub(super) fn read(asked: &[String], whole: bool) -> Result<Vec<Self>, Refusal> {
        if asked.len() > MOST_IDS {
            return Err(Refusal::TooManyIds);
        }
        let one = |text: &String| {
            let mut segments = text.split('/');
            let (first, id) = (segments.next().unwrap_or_default(), segments.next());
            match id {
                Some(id) if !id.is_empty() => {
                    Ok(Self { id: id.to_owned(), branch: segments.nth(1).map(str::to_owned) })
                }
                None if !whole && !first.is_empty() => Ok(Self { id: first.to_owned(), branch: None }),
                _ => Err(Refusal::InvalidAppId),
            }
        };
        asked.iter().map(one).collect()
    }

    fn means(&self, name: &RefName) -> bool {
        name.id() == self.id && self.branch.as_ref().is_none_or(|branch| branch == name.branch())
    }
}

/// What the account has of all that is wanted; a refusal that names the apps that it lacks. What everybody may have needs no token and is
/// left out.
pub(super) async fn owned_of<'a>(
    app: &App,
    view: &RepoView,
    account: &AccountId,
    wanted: &'a [Wanted],
) -> Result<(Visitor, Vec<Granted<'a>>), Refusal> {
    let mut visitor = Visitor::of_account(app, view, Some(account)).await?;
    let ids: BTreeSet<&str> = wanted.iter().map(|one| one.id.as_str()).collect();
    let parsed = |(name, listed)| Some((RefName::parse(name).ok()?, listed));
    let refs: Vec<(RefName, Listed)> =
        view.refs.iter().filter_map(parsed).filter(|(name, _)| ids.contains(name.id())).collect();
    let mut granted = Vec::new();
    let mut lacking: Vec<(String, Option<RefName>)> = Vec::new();
    for one in wanted {
        let mut all = refs.iter().filter(|(name, _)| one.means(name)).peekable();
        if all.peek().is_none() {
            lacking.push((one.id.clone(), None));
        }
        let (mut has, mut lacks) = (Vec::new(), None);
        for (name, listed) in all {
            match standing(app, view, &visitor, name, *listed) {
                Standing::Open => {}
                Standing::Has(found) => has.push(found),
                Standing::Lacks => lacks = Some(name.clone()),
            }
        }
        // Who names no branch has enough with one of them.
        if let Some(name) = lacks.filter(|_| has.is_empty() || one.branch.is_some()) {
            lacking.push((view.owner(&name).to_owned(), Some(name)));
        }
        granted.extend(has);
    }
    let Some((first, name)) = lacking.first().cloned() else { return Ok((visitor, granted)) };
    visitor.read_ended(app, view, account).await?;
    let message = match name.filter(|name| visitor.may_know(view, &first, name)) {
        Some(name) => why_not(app, view, &visitor, &first, &name),
        None => format!("{first} is not in {}, or not for your account.", view.url),
    };
    let missing: BTreeSet<String> = lacking.into_iter().map(|(id, _)| id).collect();
    Err(Refusal::PurchaseNecessary { missing: missing.into_iter().collect(), message })
}

enum Standing<'a> {
    Open,
    Has(Granted<'a>),
    Lacks,
}

fn standing<'a>(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    name: &RefName,
    listed: Listed,
) -> Standing<'a> {
    let owner = view.owner(name);
    if !visitor.may_know(view, owner, name) {
        return Standing::Lacks;
    }
    if view.is_open(name, listed.token_type) {
        return Standing::Open;
    }
    let free = is_for_everybody(view, name, owner, listed.token_type);
    let found = match visitor.right(owner, name.branch()) {
        _ if free => for_everybody(view, visitor, owner, name, ""),
        Right::Has(has) => {
            let commits = OfCommits { made_until: has.commits_until(), only: None };
            Some(owned(app, has, name.clone(), "", commits))
        }
        _ => None,
    };
    match found.filter(|found| is_exact(app, view, visitor, found)) {
        Some(found) => Standing::Has(found),
        None => Standing::Lacks,
    }
}
