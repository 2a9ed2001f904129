//! `flatpass repo check`: reads a repository as clients will see it, and says what would go wrong and what mends it.

mod broker;
mod issuer;
mod key_ends;
mod layout;
mod listing;
mod registry;
mod signatures;
mod summary;
mod token_types;

use std::collections::BTreeSet;
use std::path::Path;

use flatpass_ostree::Checksum;
use flatpass_ostree::repo::{Mode, Repo as OstreeRepo, RepoError};
use flatpass_store::{Repo, RepoListing, RepoPolicy, RepoSource};
use flatpass_token::{RefName, UnixTime};
use serde_json::{Value, json};

use super::Shop;
use super::failure::Failure;
use super::output::{Answer, FOUND_PROBLEMS};
use super::shell::quoted;

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
    /// The commands that mend it, in this order. `KEY-ID` stands for the publisher's OpenPGP key.
    mend: Vec<String>,
    /// What else may be done.
    advice: Option<String>,
}

/// A ref of an app or runtime, with what its commit says.
struct Published {
    name: RefName,
    checksum: Checksum,
    token_type: Option<i32>,
    signed: bool,
}

/// The repo under the eyes of the checks, and what they found so far.
struct Look<'a> {
    repo: &'a Repo,
    root: &'a Path,
    ostree: OstreeRepo,
    /// Apps with a price.
    priced: BTreeSet<String>,
    /// The store's public URL, as clients must find it in the summary.
    url: &'a str,
    /// The directory, quoted for commands.
    path: String,
    /// How the index is made for each person, if it is.
    listing: Option<RepoListing>,
    now: UnixTime,
    findings: Vec<Finding>,
}

/// Checks the repo; exit code 3 when there is a problem.
pub(super) async fn run(shop: &Shop, repo: &Repo) -> Result<Answer, Failure> {
    let offers = shop.store.offers(&repo.name).await?;
    let priced: BTreeSet<_> = offers.into_iter().map(|offer| offer.app_id).collect();
    let listing = shop.store.repo_listing(&repo.name).await?;
    let root = match &repo.source {
        RepoSource::Ostree(root) => root,
        RepoSource::OciLayout(path) => return Ok(told(repo, &layout::findings(repo, path))),
        RepoSource::Registry(registry) => {
            let findings = registry::findings(shop, repo, registry, !priced.is_empty()).await?;
            return Ok(told(repo, &findings));
        }
    };
    let path = quoted(&root.display().to_string());
    let mut findings = match OstreeRepo::open(root) {
        Err(error) => vec![unreadable(&path, &error)],
        Ok(ostree) => {
            let url = shop.config.url.as_str();
            let mut look =
                Look { repo, root, ostree, priced, url, path, listing, now: shop.now, findings: Vec::new() };
            if let Err(error) = look.at_everything() {
                look.findings.push(unreadable(&look.path, &error));
            }
            look.findings
        }
    };
    findings.extend(issuer::findings(shop, repo).await?);
    Ok(told(repo, &findings))
}

fn told(repo: &Repo, findings: &[Finding]) -> Answer {
    let count = |weight| findings.iter().filter(|finding| finding.weight == weight).count();
    let (problems, notes) = (count(Weight::Problem), count(Weight::Note));
    let counted =
        |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let found = match (problems, notes) {
        (0, 0) => "all is well".to_owned(),
        (0, _) => counted(notes, "note"),
        (_, 0) => counted(problems, "problem"),
        (_, _) => format!("{}, {}", counted(problems, "problem"), counted(notes, "note")),
    };
    let mut text = format!("repo {} ({}), policy {}: {found}", repo.name, repo.source, repo.policy);
    for finding in findings {
        let word = if finding.weight == Weight::Problem { "problem" } else { "note   " };
        text.push_str(&format!("\n\n{word}  {}", finding.what));
        for (index, command) in finding.mend.iter().enumerate() {
            let lead = if index == 0 { "mend: " } else { "      " };
            text.push_str(&format!("\n         {lead}{command}"));
        }
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("\n         {advice}"));
        }
    }
    let json: Value = json!({ "repo": repo.name, "ok": problems == 0, "findings": findings });
    Answer::new(text, json).with_code(if problems == 0 { 0 } else { FOUND_PROBLEMS })
}

fn unreadable(path: &str, error: &RepoError) -> Finding {
    let (code, mend, advice) = match error {
        RepoError::NotARepository { .. } => {
            ("not-a-repository", vec![format!("ostree init --mode=archive-z2 --repo={path}")], None)
        }
        RepoError::Io { .. } => (
            "unreadable",
            vec![],
            Some("Let the user that runs flatpass read all of the repository.".to_owned()),
        ),
        _ => ("damaged", vec![], Some(format!("Find out more with: ostree fsck --repo={path}"))),
    };
    Finding { weight: Weight::Problem, code, what: error.to_string(), mend, advice }
}

/// How to come from another mode to `archive-z2`, which cannot be changed in place.
pub(super) fn into_archive(path: &Path) -> String {
    let old = quoted(&path.display().to_string());
    let new = quoted(&format!("{}.archive", path.display()));
    format!("ostree init --mode=archive-z2 --repo={new} && ostree pull-local --repo={new} {old}")
}

impl Look<'_> {
    fn found(&mut self, weight: Weight, code: &'static str, what: String, mend: Vec<String>) -> &mut Finding {
        self.findings.push(Finding { weight, code, what, mend, advice: None });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn problem(&mut self, code: &'static str, what: String, mend: Vec<String>) -> &mut Finding {
        self.found(Weight::Problem, code, what, mend)
    }

    /// `flatpak build-update-repo` with these options.
    fn update(&self, options: &[&str]) -> String {
        let mut words = vec!["flatpak build-update-repo"];
        words.extend(options);
        words.push(&self.path);
        words.join(" ")
    }

    fn is_open(&self, token_type: Option<i32>) -> bool {
        self.repo.policy == RepoPolicy::Open || self.repo.open_token_types.contains(&token_type.unwrap_or(0))
    }

    fn at_everything(&mut self) -> Result<(), RepoError> {
        if let Mode::Other(mode) = self.ostree.mode().clone() {
            let what = format!("The repository has the mode {mode}; clients can only pull from archive-z2.");
            let mend = into_archive(self.root);
            let repo = &self.repo.name;
            let advice =
                format!("Then remove {repo} and add the copy: flatpass repo remove, flatpass repo add");
            self.problem("mode", what, vec![mend]).advice = Some(advice);
        }
        let refs = self.published()?;
        self.at_token_types(&refs);
        self.at_summary(&refs)?;
        self.at_commit_signatures(&refs);
        self.at_published_keys();
        self.at_listing();
        Ok(())
    }

    /// The app and runtime refs with their commits; a commit that is missing is reported.
    fn published(&mut self) -> Result<Vec<Published>, RepoError> {
        let mut published = Vec::new();
        for one in self.ostree.refs()? {
            let Ok(name) = RefName::parse(&one.name) else { continue };
            let signatures = self.ostree.commit_signatures(&one.checksum)?;
            let signed = signatures.is_some_and(|signatures| !signatures.is_empty());
            if let Some(commit) = self.ostree.commit(&one.checksum)? {
                published.push(Published {
                    name,
                    checksum: one.checksum,
                    token_type: commit.token_type,
                    signed,
                });
            } else {
                let what = format!("{name} points to the commit {}, which is not there.", one.checksum);
                let advice =
                    format!("Export it again, or find out more with: ostree fsck --repo={}", self.path);
                self.problem("commit-missing", what, vec![]).advice = Some(advice);
            }
        }
        if published.is_empty() {
            let advice = format!("Publish one with: flatpak build-export {} BUILD-DIR stable", self.path);
            let what = "The repository has no app and no runtime.".to_owned();
            self.found(Weight::Note, "empty", what, vec![]).advice = Some(advice);
        }
        Ok(published)
    }
}
