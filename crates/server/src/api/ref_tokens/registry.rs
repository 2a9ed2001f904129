//! Refs that are images in a container registry: what is granted becomes a token that the registry takes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use flatpass_oci::{Access, Action, Actions, Image, RepositoryName, Scope, Target};
use flatpass_ostree::Checksum;
use flatpass_store::{AccountId, Registry, RegistryAccess};

use super::denied::{not_seen, unavailable};
use super::{Issued, Sorted, denial};
use crate::app::{App, Rng};
use crate::broker::{NoToken, Ticket};
use crate::problem::ApiError;
use crate::pulls::{Pull, may_know, pull};
use crate::registry_token::RegistryTokenFor;
use crate::snapshot::{RepoView, Snapshot};
use crate::visitor::Visitor;

/// The rights of one token may take so many bytes of JSON: with the rest of the claims, in base64, that stays below
/// [`crate::registry_token::MAX_REGISTRY_TOKEN_BYTES`].
const ACCESS_BYTES: usize = 4800;
/// What a right takes beside the name of its repository.
const RIGHT_BYTES: usize = 60;

/// Who asks a repo in a registry, and for which commits.
pub(super) struct Asker<'a> {
    pub(super) app: &'a App,
    pub(super) snapshot: &'a Snapshot,
    pub(super) view: &'a RepoView,
    pub(super) visitor: &'a Visitor,
    pub(super) account: Option<&'a AccountId>,
    /// The commits that were named, by ref.
    pub(super) commits: HashMap<&'a str, Checksum>,
}

/// A ref whose image's repository may be opened, for so long.
struct Opened<'a> {
    asked: &'a str,
    image: &'a Image,
    seconds: i64,
}

/// How long the token for a repository may last, or why there is none.
type Judged<'a> = Result<i64, Forbids<'a>>;

/// What forbids a token for a repository.
#[derive(Clone, Copy)]
enum Forbids<'a> {
    /// One of its images.
    Image(&'a Image),
    /// Not all of it was seen.
    NotSeen,
    Unknown,
}

impl<'a> Asker<'a> {
    /// What the API answers. In a registry that takes our tokens everything needs one, what is free too.
    pub(super) async fn answer(
        &self,
        registry: &Registry,
        sorted: Sorted<'a>,
    ) -> Result<(Vec<Issued<'a>>, Sorted<'a>), ApiError> {
        let granted: Vec<_> =
            sorted.granted.iter().map(|granted| granted.asked).chain(sorted.open.iter().copied()).collect();
        let mut rest = Sorted { denied: sorted.denied, ..Sorted::default() };
        match registry.access {
            RegistryAccess::None => rest.open = granted,
            RegistryAccess::Broker => return Ok(self.brokered(registry, granted, rest).await),
            RegistryAccess::Realm => return self.tokens(registry, granted, rest),
        }
        Ok((Vec::new(), rest))
    }

    fn tokens(
        &self,
        registry: &Registry,
        granted: Vec<&'a str>,
        mut rest: Sorted<'a>,
    ) -> Result<(Vec<Issued<'a>>, Sorted<'a>), ApiError> {
        let mut alike: BTreeMap<i64, Vec<(&'a str, &RepositoryName)>> = BTreeMap::new();
        for opened in self.opened(registry, granted, &mut rest) {
            alike.entry(opened.seconds).or_default().push((opened.asked, &opened.image.repository));
        }
        let mut issued = Vec::new();
        for (seconds, all) in alike.into_iter().rev() {
            for part in parts(&all) {
                let token = self.sign(registry, part, seconds)?;
                let refs = part.iter().map(|(asked, _)| *asked).collect();
                issued.push(Issued { token, expires_in: seconds, refs, limited: false });
            }
        }
        Ok((issued, rest))
    }

    /// The registry's own tokens, one for each repository.
    async fn brokered(
        &self,
        registry: &Registry,
        granted: Vec<&'a str>,
        mut rest: Sorted<'a>,
    ) -> (Vec<Issued<'a>>, Sorted<'a>) {
        let mut opened: BTreeMap<&RepositoryName, Vec<Opened<'a>>> = BTreeMap::new();
        for one in self.opened(registry, granted, &mut rest) {
            opened.entry(&one.image.repository).or_default().push(one);
        }
        let wanted = opened.iter().filter_map(|(name, all)| Some((*name, all.first()?.image.digest)));
        let mut tickets = self.app.broker.tickets(self.app, &self.view.repo.name, registry, wanted).await;
        let mut issued = Vec::new();
        for (name, all) in opened {
            let refs = || all.iter().map(|one| one.asked);
            match tickets.remove(name).unwrap_or(Err(NoToken::NoRobot)) {
                Ok(Ticket::NotNeeded) => rest.open.extend(refs()),
                Ok(Ticket::Token { secret, until }) => {
                    // It lasts until its own end, whatever comes; but then the store is asked again.
                    let left = self.app.now().seconds_until(until);
                    let right = all.iter().map(|one| one.seconds).min().unwrap_or(1);
                    let (token, expires_in) = (secret.expose().to_owned(), left.min(right).max(1));
                    issued.push(Issued { token, expires_in, refs: refs().collect(), limited: false });
                }
                Err(why) => {
                    let denied = |one: &Opened<'a>| {
                        let app = self.view.owner(one.image.name());
                        unavailable(self.app, registry, app, &why, one.asked)
                    };
                    rest.denied.extend(all.iter().map(denied));
                }
            }
        }
        (issued, rest)
    }

    /// A token opens the whole repository of an image: who may not have all that is in it gets none.
    fn opened(&self, registry: &Registry, granted: Vec<&'a str>, rest: &mut Sorted<'a>) -> Vec<Opened<'a>> {
        let images = self.images(&granted);
        let mut judged: HashMap<&RepositoryName, Judged<'a>> = HashMap::new();
        let mut opened = Vec::new();
        for asked in granted {
            let Some(image) = images.get(asked).copied() else {
                rest.denied.push(super::no_ref(asked));
                continue;
            };
            let repository = &image.repository;
            match *judged.entry(repository).or_insert_with(|| self.judge(repository)) {
                Ok(seconds) => opened.push(Opened { asked, image, seconds }),
                Err(Forbids::NotSeen) => {
                    let owner = self.view.owner(image.name());
                    rest.denied.push(not_seen(self.app, registry, owner, asked));
                }
                Err(why) => {
                    let other = match why {
                        Forbids::Image(other) if may_know(self.view, self.visitor, other) => other,
                        _ => image,
                    };
                    let (owner, branch) = (self.view.owner(other.name()), other.name().branch());
                    rest.denied.push(denial(self.app, self.view, self.visitor, owner, branch, asked));
                }
            }
        }
        opened
    }

    fn judge(&self, repository: &RepositoryName) -> Judged<'a> {
        match pull(self.app, self.view, self.visitor, repository) {
            Pull::May(ends) => {
                let left = ends.map_or(i64::MAX, |ends| self.app.now().seconds_until(ends));
                // Flatpak asks once, before it downloads everything.
                Ok(left.clamp(1, self.app.config.tokens.ref_token_seconds))
            }
            Pull::MayNot(image) => Err(Forbids::Image(image)),
            Pull::NotSeen(_) => Err(Forbids::NotSeen),
            Pull::Unknown => Err(Forbids::Unknown),
        }
    }

    /// For each ref the image with the named digest, or else the one that counts.
    fn images(&self, granted: &[&'a str]) -> HashMap<&'a str, &'a Image> {
        let wanted: HashSet<&'a str> = granted.iter().copied().collect();
        let images = self.view.images.as_ref().map(|images| images.images()).unwrap_or_default();
        let mut found: HashMap<&str, &Image> = HashMap::new();
        for image in images {
            let Some(asked) = wanted.get(image.name().as_str()).copied() else { continue };
            let named = self.commits.get(asked);
            let rank = |image: &Image| {
                (named.is_some_and(|commit| commit.as_bytes() == image.digest.as_bytes()), image.rank())
            };
            let best = found.entry(asked).or_insert(image);
            if rank(image) > rank(best) {
                *best = image;
            }
        }
        found
    }

    fn sign(
        &self,
        registry: &Registry,
        part: &[(&str, &RepositoryName)],
        seconds: i64,
    ) -> Result<String, ApiError> {
        let names: BTreeSet<_> = part.iter().map(|(_, repository)| *repository).collect();
        let access = names.into_iter().map(|name| {
            let actions = Actions::new([Action::Pull]);
            Access::repository(name, &Scope { target: Target::Repository(name.clone()), actions })
        });
        let issuer = self.app.config.issuer();
        let subject = self.account.map_or("", AccountId::as_str);
        let made = RegistryTokenFor { issuer: &issuer, service: &registry.service, subject, seconds };
        let mut rng = Rng::system();
        made.sign(&self.snapshot.signing_key, access.collect(), self.app.now(), rng.as_random()).map_err(
            |error| {
                tracing::error!(%error, "a token could not be signed");
                ApiError::Internal
            },
        )
    }
}

/// Refs whose repositories fit into one token.
fn parts<'p, 'a>(
    all: &'p [(&'a str, &'a RepositoryName)],
) -> impl Iterator<Item = &'p [(&'a str, &'a RepositoryName)]> {
    let mut bytes = 0;
    all.chunk_by(move |_, (_, repository)| {
        bytes += RIGHT_BYTES + repository.as_str().len();
        let fits = bytes <= ACCESS_BYTES;
        if !fits {
            bytes = RIGHT_BYTES + repository.as_str().len();
        }
        fits
    })
}
