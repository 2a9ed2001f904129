//! A request for tokens, from Flatpak's arguments to Flatpak's answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flatpass_token::{RefName, UnixTime};

use super::Session;
use super::cache::UsedAt;
use super::flow::{Interaction, Offered};
use super::identity::Identity;
use super::refusal::{Ended, Refusal};
use crate::authority::error::{AuthorityError, shown};
use crate::authority::ref_tokens::{DeniedRef, Purpose, Reason, RefTokens, WantedRef};
use crate::registry::address::RegistryUrl;
use crate::webflow::Wanted;

/// Flatpak's token type for "the repo refused what I had": `G_MAXINT32` in `flatpak-transaction.c`.
pub const TOKEN_WAS_REFUSED: i32 = i32::MAX;
/// The most refs of one request.
pub const MAX_REFS: usize = 10_000;
/// The most apps that one web flow names, and the most bytes of their refs: they stand in an address.
const MAX_OFFERED: usize = 40;
const MAX_OFFERED_BYTES: usize = 4096;
/// The most web flows for one request.
const MAX_ROUNDS: usize = 8;

/// A ref that Flatpak wants a token for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRef {
    wanted: WantedRef,
    /// What we gave for it (or nothing) was refused: an answer from memory would be refused again.
    fresh: bool,
}

impl AskedRef {
    /// Reads one item of Flatpak's `refs` argument.
    ///
    /// # Errors
    /// [`Refusal::BadRef`].
    pub fn new(name: &str, commit: &str, token_type: i32) -> Result<Self, Refusal> {
        if RefName::parse(name).is_err() {
            return Err(Refusal::BadRef { name: shown(name) });
        }
        let is_checksum = commit.len() == 64 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fresh = token_type == TOKEN_WAS_REFUSED;
        let wanted = WantedRef {
            name: name.to_owned(),
            commit: is_checksum.then(|| commit.to_owned()),
            token_type: (!fresh).then_some(token_type),
        };
        Ok(Self { wanted, fresh })
    }

    /// The ref.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.wanted.name
    }

    /// Whether an answer from memory is of no use.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

/// A whole request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The repo, and for an OCI repo the registry that Flatpak will send the tokens to.
    pub used_at: UsedAt,
    /// Its refs.
    pub refs: Vec<AskedRef>,
    /// Where the tokens are going to be shown.
    pub purpose: Purpose,
    /// Whether a person may be shown a web page.
    pub interactive: bool,
}

impl Ask {
    /// The answer that none of the refs needs a token.
    #[must_use]
    pub fn without_tokens(&self) -> Tokens {
        Tokens::from([(String::new(), self.refs.iter().map(|asked| asked.name().to_owned()).collect())])
    }

    /// What the answer for a ref is remembered by: a token that names its commits is no answer for another commit.
    fn remembered_as(&self, wanted: &WantedRef) -> String {
        let commit = wanted.commit.as_deref().unwrap_or_default();
        match self.purpose {
            Purpose::Origin => wanted.name.clone(),
            Purpose::Peers => format!("{} peers {commit}", wanted.name),
            Purpose::Mirrors => format!("{} mirrors {commit}", wanted.name),
        }
    }
}

/// Tokens with the refs they are for; the empty token is for refs that need none.
pub type Tokens = BTreeMap<String, Vec<String>>;

impl Session {
    /// Gets a token for every ref, with as many web flows as it takes (normally none or one).
    ///
    /// # Errors
    /// [`Ended`]: then there is no token for any ref.
    pub async fn tokens(self: &Arc<Self>, ask: &Ask, client: &impl Interaction) -> Result<Tokens, Ended> {
        let mut offered = Offered::new();
        let mut fresh = true;
        for _ in 0..MAX_ROUNDS {
            let (tokens, denied) = self.look_up(ask, fresh).await?;
            fresh = false;
            let Some(first) = denied.first() else { return Ok(tokens) };
            if let Some(hopeless) = denied.iter().find(|denied| !is_solvable(denied)) {
                return Err(denial(hopeless, &denied).into());
            }
            if !ask.interactive || !self.is_attended() {
                return Err(self.do_first(&denied).into());
            }
            let key = |denied: &DeniedRef| (ask.used_at.repo.clone(), app_of(denied).to_owned());
            if let Some(again) = denied.iter().find(|denied| offered.contains(&key(denied))) {
                return Err(denial(again, &denied).into());
            }
            tracing::debug!(first = %first.name, count = denied.len(), "a web flow is needed");
            let wanted = Wanted { repo: ask.used_at.repo.clone(), refs: to_offer(&denied) };
            let names: BTreeSet<&String> = wanted.refs.iter().collect();
            let offering: Offered =
                denied.iter().filter(|denied| names.contains(&denied.name)).map(key).collect();
            offered.extend(Box::pin(self.web_flow(Some(wanted), offering, client)).await?);
        }
        Err(Refusal::WebFlow {
            message: "Too many sign-ins for one request. Try again with fewer apps.".to_owned(),
        }
        .into())
    }

    /// Answers from memory, and asks the authority once for the rest. One question at a time: who asks for the same
    /// at the same time finds the answer in memory.
    async fn look_up(self: &Arc<Self>, ask: &Ask, fresh: bool) -> Result<(Tokens, Vec<DeniedRef>), Ended> {
        let _turn = self.asking.lock().await;
        self.notice_sign_in().await?;
        let now = self.environment.now();
        let mut tokens = Tokens::new();
        let mut missing: BTreeMap<&str, &WantedRef> = BTreeMap::new();
        {
            let mut cache = self.cache();
            let mut seen = BTreeSet::new();
            for asked in &ask.refs {
                let name = asked.wanted.name.as_str();
                if !seen.insert(name) {
                    continue;
                }
                let key = ask.remembered_as(&asked.wanted);
                if asked.fresh && fresh {
                    cache.forget(&ask.used_at, &key);
                }
                match cache.get(&ask.used_at, &key, now) {
                    Some(token) => tokens.entry(token.to_owned()).or_default().push(name.to_owned()),
                    None => {
                        missing.insert(name, &asked.wanted);
                    }
                }
            }
        }
        if missing.is_empty() {
            return Ok((tokens, Vec::new()));
        }
        let wanted: Vec<WantedRef> = missing.into_values().cloned().collect();
        let mut answer = match self.ask_authority(ask, &wanted).await {
            Ok(answer) => answer,
            // A peer may be reached where the store is not.
            Err(ended) if ask.purpose != Purpose::Origin && is_unreachable(&ended) => {
                return self.remembered(ask, &wanted, tokens, now).ok_or(ended);
            }
            Err(ended) => return Err(ended),
        };
        // An authority that shows strangers nothing names no registry to them either, and grants nothing.
        let is_silent = answer.registry.is_none() && answer.granted.is_empty() && answer.open.is_empty();
        if let Some(registry) = &ask.used_at.registry
            && answer.registry.as_ref() != Some(registry)
            && (!is_silent || answer.denied.is_empty())
        {
            return Err(self.other_registry(registry, answer.registry.as_ref()).into());
        }
        if ask.purpose != Purpose::Origin {
            // It is remembered by its commit, so it is given out for no other.
            answer.granted.iter_mut().for_each(|granted| granted.limited = false);
        }
        let key = |name: &str| {
            let wanted = wanted.iter().find(|wanted| wanted.name == name);
            wanted.map_or_else(|| name.to_owned(), |wanted| ask.remembered_as(wanted))
        };
        self.cache().put(&ask.used_at, &answer, key, now);
        for granted in answer.granted {
            tokens.entry(granted.token.expose().to_owned()).or_default().extend(granted.refs);
        }
        if !answer.open.is_empty() {
            tokens.entry(String::new()).or_default().extend(answer.open);
        }
        Ok((tokens, answer.denied))
    }

    /// What is left of earlier answers: tokens for these very commits that have not expired.
    fn remembered(
        &self,
        ask: &Ask,
        wanted: &[WantedRef],
        mut tokens: Tokens,
        now: UnixTime,
    ) -> Option<(Tokens, Vec<DeniedRef>)> {
        let cache = self.cache();
        for wanted in wanted {
            let token = cache.last(&ask.used_at, &ask.remembered_as(wanted), now)?;
            tokens.entry(token.to_owned()).or_default().push(wanted.name.clone());
        }
        tracing::info!("the store cannot be reached; tokens from before are used");
        Some((tokens, Vec::new()))
    }

    async fn ask_authority(self: &Arc<Self>, ask: &Ask, wanted: &[WantedRef]) -> Result<RefTokens, Ended> {
        let mut access = self.access(ask.interactive, None).await?;
        let mut tried_again = false;
        loop {
            let now = self.environment.now();
            match self
                .authority
                .ref_tokens(access.as_ref(), &ask.used_at.repo, wanted, ask.purpose, now)
                .await
            {
                Err(AuthorityError::InvalidAccessToken { .. }) if access.is_some() && !tried_again => {
                    tried_again = true;
                    access = self.access(ask.interactive, access.as_ref()).await?;
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// The index leads to another registry than the authority says: who made the index would get the tokens.
    fn other_registry(&self, asked: &RegistryUrl, said: Option<&RegistryUrl>) -> Refusal {
        let store = self.authority.url().host();
        match said {
            Some(said) => Refusal::OtherRegistry { asked: asked.host(), said: said.host(), store },
            None => Refusal::NotOci { store },
        }
    }

    /// What the person must do first, when nobody may be asked now.
    fn do_first(&self, denied: &[DeniedRef]) -> Refusal {
        if let (Identity::Robot(robot), Some(first)) = (&self.identity, denied.first()) {
            return Refusal::RobotMayNot { message: message_of(first), id: shown(&robot.id) };
        }
        let url = self.authority.url().to_string();
        match denied.iter().find(|denied| denied.reason == Reason::PurchaseRequired) {
            Some(unpaid) if denied.iter().all(|denied| denied.reason == Reason::PurchaseRequired) => {
                buy_first(unpaid, url)
            }
            _ => Refusal::SignInFirst { url },
        }
    }
}

/// Whether there is no way to the store, or nothing at its end that works.
fn is_unreachable(ended: &Ended) -> bool {
    matches!(
        ended,
        Ended::Refused(Refusal::Authority(
            AuthorityError::Unreachable { .. }
                | AuthorityError::Timeout { .. }
                | AuthorityError::Fault { .. }
        ))
    )
}

/// Where to buy it is said once: the authority's sentence may have said it already.
fn buy_first(unpaid: &DeniedRef, store: String) -> Refusal {
    let message = message_of(unpaid);
    let url = unpaid.url.clone().unwrap_or(store);
    if message.contains(&url) { Refusal::Denied { message } } else { Refusal::BuyFirst { message, url } }
}

/// Whether a web page could change it.
fn is_solvable(denied: &DeniedRef) -> bool {
    matches!(denied.reason, Reason::SignInRequired | Reason::PurchaseRequired)
}

/// What a person would buy: the app, or the ref itself.
fn app_of(denied: &DeniedRef) -> &str {
    denied.app.as_deref().unwrap_or(&denied.name)
}

fn message_of(denied: &DeniedRef) -> String {
    denied.message.clone().unwrap_or_else(|| {
        let app = shown(app_of(denied));
        match denied.reason {
            Reason::SignInRequired => format!("{app} needs a sign-in."),
            Reason::PurchaseRequired => format!("{app} must be bought."),
            Reason::UpgradeRequired => {
                format!("Your right to {app} covers the version that you have, and no newer one. Renew it at the store.")
            }
            Reason::NotFound => format!("The store does not have {app}."),
            Reason::AccountDisabled => "Your account at this store is closed.".to_owned(),
            Reason::Other => format!("The store gives you no access to {app}."),
        }
    })
}

/// The refusal for `denied`, which stands for all of them.
fn denial(denied: &DeniedRef, all: &[DeniedRef]) -> Refusal {
    let apps: BTreeSet<&str> = all.iter().map(app_of).collect();
    let mut message = message_of(denied);
    if apps.len() > 1 {
        message.push_str(&format!(" (And {} more.)", apps.len() - 1));
    }
    Refusal::Denied { message }
}

/// One ref for each app, the app's own before its extensions; no more than fit into an address.
fn to_offer(denied: &[DeniedRef]) -> Vec<String> {
    let mut by_app: BTreeMap<&str, &str> = BTreeMap::new();
    for item in denied {
        let name = item.name.as_str();
        let best = by_app.entry(app_of(item)).or_insert(name);
        if rank(name) < rank(best) {
            *best = name;
        }
    }
    let mut bytes = 0;
    by_app
        .into_values()
        .take(MAX_OFFERED)
        .take_while(|name| {
            bytes += name.len();
            bytes <= MAX_OFFERED_BYTES
        })
        .map(str::to_owned)
        .collect()
}

/// Apps before runtimes, short names before long ones.
fn rank(name: &str) -> (bool, usize) {
    (!name.starts_with("app/"), name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(name: &str, app: Option<&str>) -> DeniedRef {
        DeniedRef {
            name: name.to_owned(),
            reason: Reason::PurchaseRequired,
            app: app.map(str::to_owned),
            message: None,
            url: None,
        }
    }

    #[test]
    fn an_app_with_its_extensions_is_offered_once() {
        let all = [
            denied("runtime/org.test.Paid.Locale/x86_64/stable", Some("org.test.Paid")),
            denied("app/org.test.Paid/x86_64/stable", Some("org.test.Paid")),
            denied("runtime/org.test.Other.Locale/x86_64/stable", Some("org.test.Other")),
            denied("app/org.test.Third/x86_64/stable", None),
        ];
        assert_eq!(
            to_offer(&all),
            [
                "app/org.test.Third/x86_64/stable",
                "runtime/org.test.Other.Locale/x86_64/stable",
                "app/org.test.Paid/x86_64/stable",
            ]
        );
        let many: Vec<DeniedRef> =
            (0..1000).map(|n| denied(&format!("app/org.test.App{n:04}/x86_64/stable"), None)).collect();
        assert_eq!(to_offer(&many).len(), MAX_OFFERED);
    }

    #[test]
    fn where_to_buy_is_said_once() {
        let page = "https://shop.example/apps/apps/org.test.Paid";
        let unpaid = |message: &str| DeniedRef {
            message: Some(message.to_owned()),
            url: Some(page.to_owned()),
            ..denied("app/org.test.Paid/x86_64/stable", Some("org.test.Paid"))
        };
        let sentence =
            |message: &str| buy_first(&unpaid(message), "https://shop.example/".to_owned()).to_string();
        assert_eq!(
            sentence("It costs 5 EUR."),
            format!("It costs 5 EUR. Buy it first at {page}, then try again.")
        );
        let whole = format!("Buy it at {page}.");
        assert_eq!(sentence(&whole), whole);
    }

    #[test]
    fn a_ref_or_commit_that_is_none_is_not_sent() {
        assert!(AskedRef::new("app/../x/y", "", 2).is_err());
        assert!(AskedRef::new("", "", 2).is_err());
        let asked = AskedRef::new("app/org.test.Paid/x86_64/stable", "", TOKEN_WAS_REFUSED).expect("valid");
        assert!(asked.fresh);
        assert_eq!((asked.wanted.commit, asked.wanted.token_type), (None, None));
        let asked = AskedRef::new("app/org.test.Paid/x86_64/stable", &"a".repeat(64), 2).expect("valid");
        assert!(!asked.fresh);
        assert_eq!(asked.wanted.token_type, Some(2));
        assert!(asked.wanted.commit.is_some());
    }
}
