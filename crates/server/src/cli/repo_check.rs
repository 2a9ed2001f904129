//! `flatpass repo check`: reads a repository as clients will see it, and says what would go wrong and what mends it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flatpass_ostree::Checksum;
use flatpass_ostree::repo::{Mode, Repo as OstreeRepo, RepoError};
use flatpass_ostree::{Signatures, SummaryMetadata};
use flatpass_store::{Repo, RepoPolicy, owner_of};
use flatpass_token::{RefKind, RefName};
use serde_json::{Value, json};

use super::Shop;
use super::failure::Failure;
use super::output::{Answer, FOUND_PROBLEMS};
use super::shell::quoted;

/// The D-Bus name of our authenticator.
const AUTHENTICATOR: &str = "org.flatpass.Authenticator";
/// The token type that is written onto commits of apps that must be bought.
const MUST_BE_BOUGHT: i32 = 2;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Weight {
    /// Something will not work, or is open that should not be.
    Problem,
    /// It may be meant so.
    Note,
}

/// One thing that was found.
#[derive(serde::Serialize)]
struct Finding {
    weight: Weight,
    /// A fixed word for programs.
    code: &'static str,
    what: String,
    /// The command that mends it, or what to do.
    mend: String,
}

/// What the checks look at.
struct Look<'a> {
    repo: &'a Repo,
    ostree: OstreeRepo,
    /// Apps with a price.
    priced: BTreeSet<String>,
    /// The store's public URL, as clients must find it in the summary.
    url: &'a str,
    /// The directory, for commands.
    path: String,
    findings: Vec<Finding>,
}

/// A ref of an app or runtime, with the token type of its commit.
struct Published {
    name: RefName,
    checksum: Checksum,
    token_type: Option<i32>,
    signed: bool,
}

/// Checks the repo; exit code 3 when there is a problem.
pub(super) async fn run(shop: &Shop, repo: &Repo) -> Result<Answer, Failure> {
    let offers = shop.store.offers(&repo.name).await?;
    let priced = offers.into_iter().map(|offer| offer.app_id).collect();
    let findings = match OstreeRepo::open(&repo.path) {
        Err(error) => vec![unreadable(&repo.path, &error)],
        Ok(ostree) => {
            let path = quoted(&repo.path.display().to_string());
            let url = shop.config.url.as_str();
            let mut look = Look { repo, ostree, priced, url, path, findings: Vec::new() };
            if let Err(error) = look.at_everything() {
                look.findings.push(unreadable(&repo.path, &error));
            }
            look.findings
        }
    };
    Ok(told(repo, &findings))
}

fn told(repo: &Repo, findings: &[Finding]) -> Answer {
    let count = |weight| findings.iter().filter(|finding| finding.weight == weight).count();
    let (problems, notes) = (count(Weight::Problem), count(Weight::Note));
    let head = format!("repo {} ({}), policy {}: ", repo.name, repo.path.display(), repo.policy);
    let counted =
        |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let mut lines = vec![match (problems, notes) {
        (0, 0) => head + "all is well",
        (0, _) => head + &counted(notes, "note"),
        (_, 0) => head + &counted(problems, "problem"),
        (_, _) => format!("{head}{}, {}", counted(problems, "problem"), counted(notes, "note")),
    }];
    for finding in findings {
        let word = if finding.weight == Weight::Problem { "problem" } else { "note   " };
        lines.push(format!(
            "\n{word}  {}\n         {}",
            finding.what,
            finding.mend.replace('\n', "\n         ")
        ));
    }
    let json: Value = json!({ "repo": repo.name, "ok": problems == 0, "findings": findings });
    Answer::new(lines.join("\n"), json).with_code(if problems == 0 { 0 } else { FOUND_PROBLEMS })
}

fn unreadable(path: &Path, error: &RepoError) -> Finding {
    let path = quoted(&path.display().to_string());
    let (code, mend) = match error {
        RepoError::NotARepository { .. } => {
            ("not-a-repository", format!("mend: ostree init --mode=archive-z2 --repo={path}"))
        }
        RepoError::Io { .. } => {
            ("unreadable", "let the user that runs flatpass read all of the repository".to_owned())
        }
        _ => ("damaged", format!("find out more: ostree fsck --repo={path}")),
    };
    Finding { weight: Weight::Problem, code, what: error.to_string(), mend }
}

/// How to come from another mode to `archive-z2`, which cannot be changed in place.
pub(super) fn into_archive(path: &Path) -> String {
    let old = quoted(&path.display().to_string());
    let new = quoted(&format!("{}.archive", path.display()));
    format!(
        "make a copy that can be: ostree init --mode=archive-z2 --repo={new} && ostree pull-local --repo={new} {old}"
    )
}

impl Look<'_> {
    fn found(
        &mut self,
        weight: Weight,
        code: &'static str,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.findings.push(Finding { weight, code, what: what.into(), mend: mend.into() });
    }

    fn problem(&mut self, code: &'static str, what: impl Into<String>, mend: impl Into<String>) {
        self.found(Weight::Problem, code, what, mend);
    }

    /// `flatpak build-update-repo` with these options.
    fn update(&self, options: &str) -> String {
        let space = if options.is_empty() { "" } else { " " };
        format!("mend: flatpak build-update-repo {options}{space}{}", self.path)
    }

    fn at_everything(&mut self) -> Result<(), RepoError> {
        if let Mode::Other(mode) = self.ostree.mode().clone() {
            let what = format!("The repository has the mode {mode}; clients can only pull from archive-z2.");
            self.problem("mode", what, into_archive(&self.repo.path));
        }
        let refs = self.published()?;
        self.at_token_types(&refs);
        self.at_summary(&refs)?;
        self.at_commit_signatures(&refs);
        Ok(())
    }

    /// The app and runtime refs with their commits; a commit that is missing is reported.
    fn published(&mut self) -> Result<Vec<Published>, RepoError> {
        let mut published = Vec::new();
        for one in self.ostree.refs()? {
            let Ok(name) = RefName::parse(&one.name) else { continue };
            let signed = self
                .ostree
                .commit_signatures(&one.checksum)?
                .is_some_and(|signatures| !signatures.is_empty());
            match self.ostree.commit(&one.checksum)? {
                Some(commit) => {
                    let token_type = commit.token_type;
                    published.push(Published { name, checksum: one.checksum, token_type, signed });
                }
                None => self.problem(
                    "commit-missing",
                    format!("{name} points to the commit {}, which is not there.", one.checksum),
                    format!("export it again, or find out more: ostree fsck --repo={}", self.path),
                ),
            }
        }
        if published.is_empty() {
            let mend = format!("publish one: flatpak build-export {} BUILD-DIR stable", self.path);
            self.found(Weight::Note, "empty", "The repository has no app and no runtime.", mend);
        }
        Ok(published)
    }

    fn is_open(&self, token_type: Option<i32>) -> bool {
        self.repo.open_token_types.contains(&token_type.unwrap_or(0))
    }

    /// The app that a ref belongs to: itself, or the one it extends.
    fn owner<'a>(&'a self, name: &'a RefName, apps: &BTreeSet<&'a str>) -> &'a str {
        let known = self.priced.iter().map(String::as_str).chain(apps.iter().copied());
        owner_of(name.id(), known).unwrap_or(name.id())
    }

    fn at_token_types(&mut self, refs: &[Published]) {
        if self.repo.policy == RepoPolicy::Open {
            if let Some(app) = self.priced.first().cloned() {
                let what = format!("{app} has a price, but the policy open serves it to everybody.");
                let mend = format!(
                    "mend: flatpass repo remove {name} && flatpass repo add {name} {path} --policy refs, then set the prices again",
                    name = self.repo.name,
                    path = self.path
                );
                self.problem("open-with-prices", what, mend);
            }
            return;
        }
        let apps: BTreeSet<&str> =
            refs.iter().filter(|one| one.name.kind() == RefKind::App).map(|one| one.name.id()).collect();
        let mut unsold: BTreeMap<String, String> = BTreeMap::new();
        for one in refs {
            let owner = self.owner(&one.name, &apps).to_owned();
            let owned = if owner == one.name.id() {
                "has a price".to_owned()
            } else {
                format!("belongs to {owner}, which has a price")
            };
            let owner_type =
                refs.iter().find(|other| other.name.id() == owner).and_then(|app| app.token_type);
            let kind = one.token_type.unwrap_or(0);
            if self.is_open(one.token_type) && self.priced.contains(&owner) {
                let what = format!(
                    "{} {owned}, but its commit has the token type {kind}: clients will not ask for a token and be refused.",
                    one.name
                );
                let mend = self.retype(&one.name, MUST_BE_BOUGHT);
                self.problem("priced-without-token-type", what, mend);
            } else if self.is_open(one.token_type) && !self.is_open(owner_type) {
                let what = format!(
                    "{} belongs to {owner}, which needs a token, but its own token type is {kind}: everybody may have it.",
                    one.name
                );
                let mend = self.retype(&one.name, owner_type.unwrap_or(MUST_BE_BOUGHT));
                self.problem("extension-open", what, mend);
            } else if one.token_type == Some(MUST_BE_BOUGHT) && !self.priced.contains(&owner) {
                unsold.entry(owner).or_insert_with(|| one.name.to_string());
            }
        }
        for (app, name) in unsold {
            let what = format!(
                "{name} has the token type 2 (must be bought), but nobody can buy {app}: it has no price."
            );
            let mend = format!(
                "mend: flatpass app price {} {app} 5.00 EUR (or give it: flatpass grant)",
                self.repo.name
            );
            self.found(Weight::Note, "no-price", what, mend);
        }
        for app in self.priced.clone() {
            if !apps.contains(app.as_str()) {
                let what = format!("{app} has a price, but the repository has no app of this id.");
                let mend = format!("publish it, or mend: flatpass app remove {} {app}", self.repo.name);
                self.problem("priced-not-published", what, mend);
            }
        }
    }

    /// How to give a ref a new commit with a token type. `--force`, because the content is the same.
    fn retype(&self, name: &RefName, token_type: i32) -> String {
        format!(
            "mend: flatpak build-commit-from --force --token-type={token_type} --src-ref={name} {path} {name}\n      \
             flatpak build-update-repo {path}",
            path = self.path
        )
    }

    fn at_summary(&mut self, refs: &[Published]) -> Result<(), RepoError> {
        let guarded = self.repo.policy != RepoPolicy::Open
            && (!self.priced.is_empty() || refs.iter().any(|one| !self.is_open(one.token_type)));
        let Some(summary) = self.ostree.summary()? else {
            let what = "There is no summary; clients cannot see any app.";
            let mend =
                self.update(if guarded { self.authenticator_options() } else { String::new() }.as_str());
            self.problem("no-summary", what, mend);
            return Ok(());
        };
        let index = self.ostree.summary_index()?;
        let mut listed: Vec<_> = vec![("summary", summary.refs)];
        if let Some(index) = &index {
            let mut all = Vec::new();
            for entry in index.subsummaries.values() {
                all.extend(self.ostree.subsummary(&entry.checksum)?.map(|one| one.refs).unwrap_or_default());
            }
            listed.push(("summary.idx", all));
        }
        for (file, listed) in listed {
            let stale = refs.iter().find(|one| {
                let name = one.name.to_string();
                !listed.iter().any(|entry| entry.name == name && entry.checksum == one.checksum)
            });
            if let Some(one) = stale {
                let what = format!(
                    "{file} is older than the refs: it does not list the newest commit of {}.",
                    one.name
                );
                let mend = self.update("");
                self.problem("stale-summary", what, mend);
            }
        }
        let metadata: Vec<(&str, &SummaryMetadata)> = std::iter::once(("summary", &summary.metadata))
            .chain(index.as_ref().map(|index| ("summary.idx", &index.metadata)))
            .collect();
        if guarded {
            self.at_authenticator(&metadata);
        }
        self.at_redirect(&metadata);
        let signatures = (self.ostree.summary_signatures()?, self.ostree.summary_index_signatures()?);
        self.at_summary_signatures(signatures, index.is_some());
        Ok(())
    }

    fn authenticator_options(&self) -> String {
        let url = quoted(&format!("url={}", self.url));
        format!("--authenticator-name={AUTHENTICATOR} --authenticator-option={url}")
    }

    /// Both files are looked at: old clients read the one, new clients the other.
    fn at_authenticator(&mut self, metadata: &[(&str, &SummaryMetadata)]) {
        let same = |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
        for (file, metadata) in metadata {
            let (code, what) = match &metadata.authenticator {
                None => (
                    "no-authenticator",
                    format!("{file} names no authenticator: clients do not know whom to ask for tokens."),
                ),
                Some(named) if named.name != AUTHENTICATOR => (
                    "other-authenticator",
                    format!("{file} names the authenticator {}, not {AUTHENTICATOR}.", named.name),
                ),
                Some(named) => match named.options.get("url") {
                    None => (
                        "no-authenticator-url",
                        format!("{file} does not tell the authenticator this store's URL."),
                    ),
                    Some(url) if !same(url, self.url) => (
                        "other-authenticator-url",
                        format!(
                            "{file} sends people to {url}, but this store is {} (url in the configuration).",
                            self.url
                        ),
                    ),
                    Some(_) => continue,
                },
            };
            let mend = self.update(&self.authenticator_options());
            self.problem(code, what, mend);
            return;
        }
    }

    fn at_redirect(&mut self, metadata: &[(&str, &SummaryMetadata)]) {
        let Some(to) = metadata.iter().find_map(|(_, metadata)| metadata.redirect_url.clone()) else {
            return;
        };
        let mend = self.update("--redirect-url=");
        if self.repo.policy == RepoPolicy::Private {
            let what = format!(
                "The summary redirects clients to {to}; they lose the secret in their URL and are locked out."
            );
            self.problem("redirect-url", what, mend);
        } else {
            let what =
                format!("The summary redirects clients to {to}; they leave the URL they have, for good.");
            self.found(Weight::Note, "redirect-url", what, mend);
        }
    }

    fn at_summary_signatures(&mut self, found: (Option<Signatures>, Option<Signatures>), has_index: bool) {
        let signed =
            |signatures: Option<Signatures>| signatures.is_some_and(|signatures| !signatures.is_empty());
        let unsigned = match (signed(found.0), signed(found.1) || !has_index) {
            (true, true) => return,
            (false, false) => "summary and summary.idx are not signed",
            (false, true) => "summary is not signed",
            (true, false) => "summary.idx is not signed",
        };
        let what = format!(
            "{unsigned}: clients must be told not to check (--no-gpg-verify), and anybody on the way can change it."
        );
        let mend = self.update("--gpg-sign=KEY-ID");
        self.problem("unsigned-summary", what, mend);
    }

    fn at_commit_signatures(&mut self, refs: &[Published]) {
        let unsigned: Vec<_> = refs.iter().filter(|one| !one.signed).collect();
        let Some(first) = unsigned.first() else { return };
        let others = match unsigned.len() {
            1 => String::new(),
            number => format!(" and {} more", number - 1),
        };
        let what = format!("The commit of {}{others} is not signed.", first.name);
        let mend = unsigned
            .iter()
            .map(|one| self.sign(&one.name))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .take(5)
            .collect::<Vec<_>>()
            .join("\n      ");
        self.problem(
            "unsigned-commit",
            what,
            format!("mend: {mend}\n      flatpak build-update-repo --gpg-sign=KEY-ID {}", self.path),
        );
    }

    fn sign(&self, name: &RefName) -> String {
        let runtime = if name.kind() == RefKind::Runtime { "--runtime " } else { "" };
        let (id, arch, branch) = (name.id(), name.arch(), name.branch());
        format!("flatpak build-sign --gpg-sign=KEY-ID --arch={arch} {runtime}{} {id} {branch}", self.path)
    }
}
