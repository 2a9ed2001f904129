//! The index per person: in a private repo, a token that may list some refs gets an index of these and no other.
//!
//! The operator's own files are taken apart once for each state of them ([`catalogue`]), put together for each set of refs that a token
//! may list ([`personal`]), signed, and kept for those who ask for one file after the other while the operator publishes.

mod catalogue;
mod personal;
mod ration;
mod signature;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use flatpass_ostree::{Checksum, ObjectKind, RepoPath};
use flatpass_token::{Grant, UnixTime, Verb, VerifiedToken};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use self::catalogue::{Catalogue, Stamp};
use self::personal::{Item, Personal};
use self::ration::Ration;
use crate::disk::Disk;
use crate::file_cache::Freshness;
use crate::gate::Gate;
use crate::moment::Moment;
use crate::refusal::Refusal;
use crate::resource::Resource;

/// The memory that the indexes of one repo take, unless one of them alone takes more.
pub(crate) const MOST_BYTES: u64 = 64 << 20;
/// How many tokens are remembered with the set of refs that they may list.
const MOST_PEOPLE: usize = 4096;
/// How many files are found by their checksum.
const MOST_FILES: usize = 1 << 16;
/// Who got an index may ask for what it names for so long, although it is no longer the newest.
const KEPT_MILLIS: u64 = 10 * 60_000;

/// Who sees which index of a private repo.
#[derive(Clone, Debug, Default)]
pub enum Listing {
    /// Everybody who may list anything gets the operator's own files.
    #[default]
    Shared,
    /// Who may list everything gets the operator's own files, others an index of what they may list.
    PerPerson {
        /// Signs those indexes; without one they are not signed.
        signer: Option<Arc<dyn IndexSigner>>,
    },
}

/// Signs what a gate makes, with a key that clients of the repo know.
pub trait IndexSigner: fmt::Debug + Send + Sync {
    /// A detached OpenPGP signature (RFC 9580, 5.2) of `message`, binary, made at that time.
    ///
    /// # Errors
    /// A sentence for the log.
    fn sign(&self, message: &[u8], at: UnixTime) -> Result<Vec<u8>, String>;
}

/// The indexes of one repo.
#[derive(Debug)]
pub(crate) struct Listings {
    signer: Option<Arc<dyn IndexSigner>>,
    newest: ArcSwapOption<Catalogue>,
    /// Held while a catalogue is made, with the state of the files that could not be made into one.
    reading: Mutex<Option<Stamp>>,
    generations: AtomicU64,
    /// By what a token may list. Which refs these are is found once for each state of the repo.
    people: Cache<Person, Weak<Personal>>,
    /// By the set of refs. This alone holds the memory.
    sets: Cache<Set, Arc<Personal>, BySize>,
    ration: Ration,
    /// By the checksum of a file in it.
    files: Cache<Item, Weak<Personal>>,
}

/// What a token may list, in one state of the repo.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Person {
    generation: u64,
    grants: Box<[Grant]>,
}

/// Some refs of one state of the repo, a bit for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Set {
    generation: u64,
    bits: Box<[u64]>,
}

/// What weighs more than the cache holds would never be kept, and so be made again for each file of it that somebody asks for. It counts as
/// half: two of them are kept at most.
#[derive(Clone, Debug)]
struct BySize {
    most: u64,
}

impl Weighter<Set, Arc<Personal>> for BySize {
    fn weight(&self, _: &Set, personal: &Arc<Personal>) -> u64 {
        personal.bytes().min(self.most)
    }
}

/// What a request is answered with: the gate, the time, and whether the disk may be waited for.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) token: &'a VerifiedToken,
    pub(crate) now: Moment,
    pub(crate) disk: Disk,
}

impl Listings {
    /// `None` when everybody gets the operator's own index.
    pub(crate) fn new(listing: Listing, most_bytes: u64) -> Option<Self> {
        let Listing::PerPerson { signer } = listing else { return None };
        Some(Self {
            signer,
            newest: ArcSwapOption::empty(),
            reading: Mutex::default(),
            generations: AtomicU64::new(0),
            people: Cache::new(MOST_PEOPLE),
            // So few expected entries make it one piece, which takes a large one too.
            sets: Cache::with_weighter(32, most_bytes, BySize { most: most_bytes / 2 }),
            ration: Ration::default(),
            files: Cache::new(MOST_FILES),
        })
    }

    /// The index file at `path` for somebody who may list some refs and not all. `None`: there is none, as far as they may know.
    pub(crate) fn index_file(
        &self,
        asking: Asking<'_>,
        path: &RepoPath,
    ) -> Result<Option<Arc<Resource>>, Refusal> {
        let personal = self.personal(asking)?;
        if let Some(file) = personal.index_file(path, asking.disk)? {
            return Ok(Some(file));
        }
        let item = match path {
            RepoPath::SubSummary(checksum) => Item::SubSummary(*checksum),
            RepoPath::SummaryIdxSigOf(checksum) => Item::IndexSignature(*checksum),
            _ => return Ok(None),
        };
        match self.earlier(asking, item)? {
            Some(personal) => personal.item(item, asking.disk),
            None => Ok(None),
        }
    }

    /// An object of a list of apps that was made for somebody who may list what this token may.
    pub(crate) fn object(
        &self,
        asking: Asking<'_>,
        checksum: &Checksum,
        kind: ObjectKind,
    ) -> Result<Option<Listed>, Refusal> {
        let item = Item::Object(*checksum, kind);
        let personal = self.personal(asking)?;
        if let Some(found) = personal.object(item, asking.disk)? {
            return Ok(Some(found));
        }
        match self.earlier(asking, item)? {
            Some(personal) => personal.object(item, asking.disk),
            None => Ok(None),
        }
    }

    /// What has been made before and holds that file, if the token may list all of it.
    fn earlier(&self, asking: Asking<'_>, item: Item) -> Result<Option<Arc<Personal>>, Refusal> {
        let Some(personal) = self.files.get(&item).and_then(|kept| kept.upgrade()) else { return Ok(None) };
        if asking.now.distance_millis(personal.made_at()) > KEPT_MILLIS {
            return Ok(None);
        }
        if asking.disk == Disk::Cached {
            return Err(Refusal::WouldWait);
        }
        let may_list_all = personal.refs().all(|name| asking.token.allows(Verb::List, name));
        Ok(may_list_all.then_some(personal))
    }

    /// What the token may list, in the repo's present state.
    fn personal(&self, asking: Asking<'_>) -> Result<Arc<Personal>, Refusal> {
        let catalogue = self.catalogue(asking)?;
        let person = Person { generation: catalogue.generation(), grants: listing_grants(asking.token) };
        // What an account has lost does not stand in its token.
        let known = if asking.token.is_diminished() { None } else { self.people.get(&person) };
        if let Some(known) = known.and_then(|known| known.upgrade()) {
            return Ok(known);
        }
        if asking.disk == Disk::Cached {
            return Err(Refusal::WouldWait);
        }
        let bits = catalogue.bits(|name| asking.token.allows(Verb::List, name));
        let set = Set { generation: person.generation, bits };
        let made = self.sets.get_or_insert_with(&set, || {
            let _turn = self.ration.turn(asking.token.subject(), asking.now)?;
            let personal = Personal::make(&catalogue, &set.bits, self.signer.as_ref(), asking.now);
            let personal = Arc::new(personal);
            self.note(&personal);
            Ok(personal)
        });
        let personal = made?;
        if !asking.token.is_diminished() {
            self.people.insert(person, Arc::downgrade(&personal));
        }
        Ok(personal)
    }

    fn note(&self, personal: &Arc<Personal>) {
        for item in personal.items() {
            self.files.insert(item, Arc::downgrade(personal));
        }
    }

    /// The operator's index as it is now. While that cannot be read, as it was.
    fn catalogue(&self, asking: Asking<'_>) -> Result<Arc<Catalogue>, Refusal> {
        let fetch = |path| asking.gate.fetch(path, Freshness::Mutable, asking.now, asking.disk);
        let files = [fetch("summary")?, fetch("summary.idx")?];
        let stamp = Stamp::of(&files);
        let newest = || self.newest.load_full();
        if let Some(newest) = newest().filter(|newest| *newest.stamp() == stamp) {
            return Ok(newest);
        }
        if asking.disk == Disk::Cached {
            return Err(Refusal::WouldWait);
        }
        let mut failed = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) =
            newest().filter(|newest| *newest.stamp() == stamp || failed.as_ref() == Some(&stamp))
        {
            return Ok(newest);
        }
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        match Catalogue::read(asking, &files, stamp.clone(), generation, newest().as_deref()) {
            Ok(read) => {
                let read = Arc::new(read);
                self.newest.store(Some(Arc::clone(&read)));
                *failed = None;
                Ok(read)
            }
            Err(error) => {
                if failed.replace(stamp.clone()).as_ref() != Some(&stamp) {
                    tracing::error!(
                        repo = asking.gate.name(),
                        %error,
                        "no index can be made for those who may list a part of the repo; run flatpak build-update-repo"
                    );
                }
                newest().ok_or(Refusal::Unreadable)
            }
        }
    }
}

/// What may be served of an object of somebody's list of apps.
pub(crate) enum Listed {
    /// It was made for them.
    Made(Arc<Resource>),
    /// It is the operator's own.
    OnDisk,
}

/// What in a token says which refs it may list.
fn listing_grants(token: &VerifiedToken) -> Box<[Grant]> {
    let lists = token.grants().iter().filter(|grant| grant.actions.contains(&Verb::List));
    lists.map(|grant| Grant { actions: vec![Verb::List], ..grant.clone() }).collect()
}
