//! Who may have an object: by the classes that it belongs to, under the rules of a gate.

use std::ops::Bound;
use std::sync::atomic::{AtomicI64, Ordering};

use flatpass_ostree::Checksum;
use flatpass_token::{Verb, VerifiedToken};

use super::Current;
use super::class::{Class, ClassId};
use super::table::{Set, SetId};
use crate::moment::Moment;
use crate::policy::Rules;

/// The default token type of a repo is looked up this often.
const DEFAULT_CHECK_MILLIS: u64 = 300;
/// Of a set with more classes only those are looked at that a token's grants may be about.
const SMALL_SET: usize = 32;
/// With more sets than these the judgement is made on a thread that may take its time.
const MANY_SETS: u32 = 10_000;

/// What of a table is open under a gate's rules.
#[derive(Debug)]
pub(crate) struct Judgement {
    table: u64,
    default: Option<i32>,
    /// When the default was last looked up.
    checked: AtomicI64,
    classes: Box<[bool]>,
    /// One bit for each set: whether one of its classes is open.
    sets: Box<[u64]>,
}

impl Judgement {
    /// Judges all of a table. Commits without a token type of their own have `default`.
    pub(crate) fn of(current: &Current, rules: &Rules, default: Option<i32>, now: Moment) -> Self {
        let table = &current.table;
        let is_open = |class: &Class| rules.is_open_for(&class.refs, class.token_type, default);
        let classes: Box<[bool]> = table.classes().iter().map(is_open).collect();
        let mut sets = vec![0_u64; table.sets().div_ceil(64) as usize];
        for number in 0..table.sets() {
            let open = table.set(SetId(number)).iter().any(|class| is_set(&classes, class));
            if let Some(word) = sets.get_mut(number as usize / 64) {
                *word |= u64::from(open) << (number % 64);
            }
        }
        let checked = AtomicI64::new(now.millis());
        Self { table: current.number, default, checked, classes, sets: sets.into() }
    }

    /// Whether it is about that table, and the default need not be looked up yet.
    pub(crate) fn is_fresh(&self, current: &Current, now: Moment) -> bool {
        let checked = Moment::from_millis(self.checked.load(Ordering::Relaxed));
        self.table == current.number && now.distance_millis(checked) < DEFAULT_CHECK_MILLIS
    }

    /// Whether it still holds with that default, which was just looked up.
    pub(crate) fn holds(&self, current: &Current, default: Option<i32>, now: Moment) -> bool {
        let holds = self.table == current.number && self.default == default;
        if holds {
            self.checked.store(now.millis(), Ordering::Relaxed);
        }
        holds
    }

    /// Whether some commit that contains objects of this set is open.
    pub(crate) fn is_open(&self, set: SetId) -> bool {
        self.sets.get(set.0 as usize / 64).is_some_and(|word| word >> (set.0 % 64) & 1 == 1)
    }

    fn is_open_class(&self, class: ClassId) -> bool {
        is_set(&self.classes, class)
    }
}

fn is_set(flags: &[bool], class: ClassId) -> bool {
    flags.get(class as usize).copied().unwrap_or(false)
}

/// How a token may come to an object.
#[derive(Clone, Copy)]
pub(crate) enum Way<'a> {
    /// It must allow `download` of a ref.
    Download,
    /// Or, in a private repo, `list` of a ref whose commits are open.
    DownloadOrList {
        judgement: &'a Judgement,
        /// Whether the repo's own lists of apps are for everybody who may list anything.
        lists_of_apps: bool,
    },
}

impl Current {
    /// The set that the object belongs to; `None` when no commit contains it.
    pub(crate) fn find(&self, object: &Checksum) -> Option<SetId> {
        self.table.find(object)
    }

    /// Whether judging the table takes so long that nobody may wait for it.
    pub(crate) fn is_large(&self) -> bool {
        self.table.sets() > MANY_SETS
    }

    /// Whether the token opens what belongs to the set. As with commits, one ref of one class is enough.
    pub(crate) fn opens(&self, token: &VerifiedToken, set: SetId, way: Way<'_>) -> bool {
        let set = self.table.set(set);
        if set.len() <= SMALL_SET {
            return set.iter().any(|class| self.opens_class(token, class, way));
        }
        self.lists.iter().any(|class| set.contains(*class) && self.opens_class(token, *class, way))
            || self.opens_one_of_many(token, set, way)
    }

    /// Looks only at classes that a grant may be about: an object can belong to every commit of the repo.
    fn opens_one_of_many(&self, token: &VerifiedToken, set: Set<'_>, way: Way<'_>) -> bool {
        let opens = |class: &ClassId| set.contains(*class) && self.opens_class(token, *class, way);
        token.grants().iter().any(|grant| {
            let by_id = |id: &String| self.by_id.get(id.as_str());
            grant.ids.iter().filter_map(by_id).flatten().any(opens)
                || grant.prefixes.iter().any(|prefix| {
                    if prefix == "*" {
                        return set.iter().any(|class| self.opens_class(token, class, way));
                    }
                    let ids =
                        self.by_id.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
                    let below = ids.take_while(|(id, _)| id.starts_with(prefix.as_str()));
                    below.flat_map(|(_, classes)| classes).any(opens)
                })
        })
    }

    /// Whether the token itself, with all that limits it, opens the class.
    fn opens_class(&self, token: &VerifiedToken, number: ClassId, way: Way<'_>) -> bool {
        let Some(class) = self.table.classes().get(number as usize) else { return false };
        // A class has all commits of a ref. Who has only some of them never learns what the objects of the others are called.
        let allows = |verb| class.refs.iter().any(|name| token.allows_some_commit(verb, name));
        match way {
            Way::Download => allows(Verb::Download),
            Way::DownloadOrList { judgement, lists_of_apps } => {
                allows(Verb::Download)
                    || (judgement.is_open_class(number)
                        && (allows(Verb::List)
                            || (lists_of_apps && class.is_list_of_apps && token.allows_any(Verb::List))))
            }
        }
    }
}
