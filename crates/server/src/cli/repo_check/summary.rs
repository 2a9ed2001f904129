//! What the summary tells clients: the refs, the authenticator, a redirect.

use flatpass_ostree::SummaryMetadata;
use flatpass_ostree::repo::RepoError;
use flatpass_store::RepoPolicy;

use super::super::shell::quoted;
use super::{Look, Published, Weight};

/// The D-Bus name of our authenticator.
const AUTHENTICATOR: &str = "org.flatpass.Authenticator";

impl Look<'_> {
    pub(super) fn at_summary(&mut self, refs: &[Published]) -> Result<(), RepoError> {
        let guarded = !self.priced.is_empty() || refs.iter().any(|one| !self.is_open(one.token_type));
        let guarded = match self.repo.policy {
            RepoPolicy::Open => false,
            RepoPolicy::Private => true,
            _ => guarded,
        };
        let Some(summary) = self.ostree.summary()? else {
            let what = "There is no summary; clients cannot see any app.".to_owned();
            let mend = if guarded { self.naming_the_authenticator() } else { self.update(&[]) };
            self.problem("no-summary", what, vec![mend]);
            return Ok(());
        };
        // Newer clients read the index, older ones the summary: both must be right.
        let index = self.ostree.summary_index()?;
        let mut files = vec![("summary", summary.refs)];
        if let Some(index) = &index {
            let mut listed = Vec::new();
            for entry in index.subsummaries.values() {
                listed
                    .extend(self.ostree.subsummary(&entry.checksum)?.map(|one| one.refs).unwrap_or_default());
            }
            files.push(("summary.idx", listed));
        }
        for (file, listed) in files {
            let is_listed = |one: &&Published| {
                let name = one.name.to_string();
                listed.iter().any(|entry| entry.name == name && entry.checksum == one.checksum)
            };
            if let Some(one) = refs.iter().find(|one| !is_listed(one)) {
                let what =
                    format!("{file} does not list the newest commit of {}; clients do not see it.", one.name);
                let mend = self.update(&[]);
                self.problem("stale-summary", what, vec![mend]);
                break;
            }
        }
        let metadata = std::iter::once(("summary", &summary.metadata))
            .chain(index.as_ref().map(|index| ("summary.idx", &index.metadata)));
        if guarded {
            self.at_authenticator(metadata.clone());
        }
        self.at_redirect(metadata.map(|(_, metadata)| metadata));
        let signatures = (self.ostree.summary_signatures()?, self.ostree.summary_index_signatures()?);
        self.at_summary_signatures(signatures, index.is_some());
        Ok(())
    }

    fn naming_the_authenticator(&self) -> String {
        let name = format!("--authenticator-name={AUTHENTICATOR}");
        let option = format!("--authenticator-option={}", quoted(&format!("url={}", self.url)));
        self.update(&[&name, &option])
    }

    fn at_authenticator<'m>(&mut self, files: impl Iterator<Item = (&'m str, &'m SummaryMetadata)>) {
        let found = |(file, metadata): (&str, &SummaryMetadata)| {
            let Some(named) = &metadata.authenticator else {
                let what = "names no authenticator: clients do not know whom to ask for tokens.";
                return Some(("no-authenticator", format!("{file} {what}")));
            };
            if named.name != AUTHENTICATOR {
                let what = format!("{file} names the authenticator {}, not {AUTHENTICATOR}.", named.name);
                return Some(("other-authenticator", what));
            }
            let Some(url) = named.options.get("url") else {
                let what = format!("{file} does not tell the authenticator this store's URL.");
                return Some(("no-authenticator-url", what));
            };
            if url.trim_end_matches('/') == self.url.trim_end_matches('/') {
                return None;
            }
            let what = format!(
                "{file} sends people to {url}, but this store is {} (see url in the configuration).",
                self.url
            );
            Some(("other-authenticator-url", what))
        };
        if let Some((code, what)) = files.into_iter().find_map(found) {
            let mend = self.naming_the_authenticator();
            self.problem(code, what, vec![mend]);
        }
    }

    fn at_redirect<'m>(&mut self, mut files: impl Iterator<Item = &'m SummaryMetadata>) {
        let Some(to) = files.find_map(|metadata| metadata.redirect_url.as_deref()) else { return };
        let mend = self.update(&["--redirect-url="]);
        let (weight, then) = if self.repo.policy == RepoPolicy::Private {
            (Weight::Problem, "they lose the secret that is in their URL and are locked out.")
        } else {
            (Weight::Note, "they leave the URL that they have, for good.")
        };
        self.found(
            weight,
            "redirect-url",
            format!("The summary redirects clients to {to}; {then}"),
            vec![mend],
        );
    }
}
