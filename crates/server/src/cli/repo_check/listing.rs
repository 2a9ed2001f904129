//! Whether what is made for each person is what clients accept.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flatpass::openpgp::OpenPgpKey;
use flatpass_ostree::Signatures;
use flatpass_store::RepoPolicy;

use super::{Look, Weight};

impl Look<'_> {
    pub(super) fn at_listing(&mut self) {
        if self.repo.policy != RepoPolicy::Private {
            return;
        }
        let name = &self.repo.name;
        let set = format!("flatpass repo set {name} --signing-key FILE");
        let Some(listing) = &self.listing else {
            let what = "There is no key to sign an index for each person: every member sees all that is in the repository.";
            let advice = "It must be the key that signs the repository, exported with gpg --export-secret-keys. \
                Where clients verify no signatures, --per-person-index does it without a key.";
            self.found(Weight::Note, "one-index", what.to_owned(), vec![set]).advice =
                Some(advice.to_owned());
            return;
        };
        let signatures = self.summary_signature();
        let Some(key) = &listing.signing_key else {
            if !signatures.is_empty() {
                let what = "The repository's summary is signed, but what is made for each person is not: clients that verify \
                    signatures refuse it.";
                self.problem("unsigned-listing", what.to_owned(), vec![set]);
            }
            return;
        };
        let key = match OpenPgpKey::read(key) {
            Ok(key) => key,
            Err(error) => {
                let what =
                    format!("The key that signs what is made for each person cannot be used: {error}.");
                self.problem("bad-signing-key", what, vec![set]);
                return;
            }
        };
        self.at_end_of_signing_key(&key);
        let summary = fs::read(self.root.join("summary")).unwrap_or_default();
        let published = self.repo.gpg_key.as_ref().map(|key| STANDARD.decode(key).unwrap_or_default());
        let told = published.as_ref().is_none_or(|keys| key.is_among(keys));
        let known = signatures.is_empty() || signatures.iter().any(|signature| key.made(signature, &summary));
        let whose = match (told, known) {
            (true, true) => return,
            (false, _) => "which is not the key that the .flatpakrepo gives to clients",
            (true, false) => "which is not the key that signed the repository's summary",
        };
        let what = format!(
            "What is made for each person is signed with {}, {whose}: clients that do not know it refuse it.",
            key.fingerprint()
        );
        let advice = format!(
            "Or let each client know that key too: flatpak remote-modify --gpg-import=PUBLIC-KEY {name}"
        );
        self.problem("other-signing-key", what, vec![set]).advice = Some(advice);
    }

    /// The OpenPGP signatures of the repository's own summary.
    fn summary_signature(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(self.root.join("summary.sig")).unwrap_or_default();
        Signatures::openpgp_packets(&bytes).unwrap_or_default()
    }
}
