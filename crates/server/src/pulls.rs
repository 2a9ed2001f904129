//! Whether somebody may pull a repository of a registry. A registry's token opens all of a repository, so it takes the right to each
//! image that is in it, of each version.

use std::time::Duration;

use flatpass_oci::{Image, RepositoryName};
use flatpass_store::RepoPolicy;
use flatpass_token::UnixTime;

use crate::api::ref_tokens::{Granted, OfCommits, for_everybody, is_for_everybody, owned};
use crate::app::App;
use crate::snapshot::RepoView;
use crate::visitor::{Right, Visitor};

/// The answer.
pub(crate) enum Pull<'a> {
    /// They may, until then at least.
    May(Option<UnixTime>),
    /// They may not have this image.
    MayNot(&'a Image),
    /// Not all of the repository was seen lately, and they have no right of their own to what was. It has this image.
    NotSeen(&'a Image),
    /// There is no such repository, as far as anybody knows here.
    Unknown,
}

/// Whether a visitor may pull all of that repository.
pub(crate) fn pull<'a>(
    app: &App,
    view: &'a RepoView,
    visitor: &Visitor,
    repository: &RepositoryName,
) -> Pull<'a> {
    let images = view.images.as_ref().map(|images| images.of_repository(repository)).unwrap_or_default();
    let registry = view.repo.source.registry();
    let Some(first) = images.first().filter(|_| registry.is_none_or(|one| one.covers(repository.as_str())))
    else {
        return Pull::Unknown;
    };
    let (mut ends, mut is_theirs) = (None, false);
    for image in images {
        let until = match opened(app, view, visitor, image) {
            Some(Opened::ByAll) => None,
            Some(Opened::By(granted)) if granted.commits.made_until.is_none_or(|until| until > app.now()) => {
                granted.good_until
            }
            _ => return Pull::MayNot(image),
        };
        let right = visitor.right(view.owner(image.name()), image.name().branch());
        is_theirs |= matches!(right, Right::Has(_));
        ends = [ends, until].into_iter().flatten().min();
    }
    // What could not be seen may have a price. It is for nobody to whom the rest is only free.
    let usual = Duration::from_secs(app.config.registries.look_seconds);
    let is_seen =
        || registry.is_none_or(|one| app.registries.is_wholly_seen(&view.repo.name, one, repository, usual));
    if is_theirs || is_seen() { Pull::May(ends) } else { Pull::NotSeen(first) }
}

/// By what an image is open to somebody.
pub(crate) enum Opened {
    /// It is everybody's.
    ByAll,
    /// A right of theirs, perhaps to older versions only.
    By(Granted<'static>),
}

/// By what an image is open to a visitor; `None` when it is not.
pub(crate) fn opened(app: &App, view: &RepoView, visitor: &Visitor, image: &Image) -> Option<Opened> {
    let (name, owner) = (image.name(), view.owner(image.name()));
    // What one image of a ref says counts for all of them.
    let listed = view.refs.find(&name.to_string()).map(|listed| listed.token_type);
    let token_type = [image.token_type(), listed].into_iter().flatten().max().unwrap_or_default();
    if view.is_open(name, token_type) {
        return Some(Opened::ByAll);
    }
    if is_for_everybody(view, name, owner, token_type)
        && let Some(granted) = for_everybody(view, visitor, owner, name, "")
    {
        return Some(Opened::By(granted));
    }
    let Right::Has(has) = visitor.right(owner, name.branch()) else { return None };
    let commits = OfCommits { made_until: has.commits_until(), only: None };
    Some(Opened::By(owned(app, has, name.clone(), "", commits)))
}

/// Whether a visitor may know that the image is there.
pub(crate) fn may_know(view: &RepoView, visitor: &Visitor, image: &Image) -> bool {
    view.repo.policy != RepoPolicy::Private || visitor.may_know(view, view.owner(image.name()), image.name())
}
