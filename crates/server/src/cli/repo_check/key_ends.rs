//! Whether the keys that clients trust are still good, by what their files say. Once a key has ended, flatpak (1.14) refuses also what it
//! signed before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flatpass::openpgp::{OpenPgpKey, public_keys_end_at};
use flatpass_token::UnixTime;

use super::{Look, Weight};

/// Clients must get the longer key before the old one ends: it is said this long before, in seconds.
const AHEAD: i64 = 30 * 24 * 60 * 60;

impl Look<'_> {
    /// The keys in the `.flatpakrepo`.
    pub(super) fn at_published_keys(&mut self) {
        let keys = self.repo.gpg_key.as_ref().and_then(|keys| STANDARD.decode(keys).ok());
        let end = keys.and_then(|keys| public_keys_end_at(&keys));
        self.at_end(
            end,
            "published-key",
            "The public key that the .flatpakrepo gives to clients",
            "--gpg-key",
        );
    }

    /// The key that signs what is made for each person.
    pub(super) fn at_end_of_signing_key(&mut self, key: &OpenPgpKey) {
        let what = "The key that signs what is made for each person";
        self.at_end(key.ends_at(), "signing-key", what, "--signing-key");
    }

    fn at_end(&mut self, end: Option<UnixTime>, which: &str, what: &str, option: &str) {
        let Some(end) = end.filter(|end| *end <= self.now.plus_seconds(AHEAD)) else { return };
        let (weight, code, what) = match (end <= self.now, which) {
            (true, "signing-key") => {
                (Weight::Problem, "signing-key-expired", format!("{what} ended at {end}"))
            }
            (true, _) => (Weight::Problem, "published-key-expired", format!("{what} ended at {end}")),
            (false, "signing-key") => (Weight::Note, "signing-key-ends", format!("{what} ends at {end}")),
            (false, _) => (Weight::Note, "published-key-ends", format!("{what} ends at {end}")),
        };
        let what = format!(
            "{what}: from then on clients that verify signatures refuse all that it signed, before and after."
        );
        let mend = format!("flatpass repo set {} {option} FILE", self.repo.name);
        let advice = "Give it a longer life first (gpg --quick-set-expire FINGERPRINT 2y) and export it again. Clients that have the \
            old one take the new one with flatpak remote-modify --gpg-import=FILE.";
        self.found(weight, code, what, vec![mend]).advice = Some(advice.to_owned());
    }
}
