//! Options of `flatpass repo add` and `flatpass repo set`: who sees which index of a private repo.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flatpass::openpgp::{MAX_KEY_BYTES, OpenPgpKey, OpenPgpKeyError};
use flatpass_store::{RepoListing, RepoPolicy};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::shell::quoted;

pub(super) const HELP: &str = "Of a private repo each person sees the apps that they may list, and no others, once there is a key to sign what they see:\n  \
    gpg --export-secret-keys KEY-ID > key\n  flatpass repo set internal --signing-key key && shred -u key\n\n\
    Use the key that signs the repository, or one whose public half clients have too (flatpak remote-modify --gpg-import). \
    Unless --gpg-key says another one, .flatpakrepo files have its public half. \
    It must have no passphrase. It is kept sealed in the database.\n\
    Where clients verify no signatures, --per-person-index does it without a key.\n\
    Who may list everything gets the repository's own files.";

/// Who sees which index.
#[derive(clap::Args)]
pub(super) struct ListingOptions {
    /// Make an index for each person, signed with this exported OpenPGP secret key (armored or binary, no passphrase)
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Make an index for each person without signing it, for clients that verify no signatures
    #[arg(long, conflicts_with = "signing_key")]
    per_person_index: bool,
}

impl ListingOptions {
    /// What was chosen, if anything was.
    pub(super) fn read(&self, policy: RepoPolicy) -> Result<Option<RepoListing>, Failure> {
        if self.signing_key.is_none() && !self.per_person_index {
            return Ok(None);
        }
        if policy != RepoPolicy::Private {
            return Err(Failure::told(
                format!("with the policy {policy} the index is public, so there is none per person"),
                "use --policy private, or leave --signing-key and --per-person-index out",
            ));
        }
        Ok(Some(RepoListing { signing_key: self.signing_key.as_deref().map(key).transpose()? }))
    }
}

/// Reads a key file and makes sure that it signs.
fn key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let shown = path.display();
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::told(format!("cannot read {shown}: {error}"), "name the exported key"))?;
    if bytes.len() > MAX_KEY_BYTES {
        return Err(Failure::told(format!("{shown} is too large for a key"), EXPORT));
    }
    match OpenPgpKey::read(&bytes) {
        Ok(_) => Ok(bytes),
        Err(error @ OpenPgpKeyError::Passphrase) => {
            let next = format!(
                "take it off: gpg --import {}, gpg --edit-key KEY-ID passwd, then export it again",
                quoted(&shown.to_string())
            );
            Err(Failure::told(format!("{shown}: {error}"), next))
        }
        Err(error) => Err(Failure::told(format!("{shown}: {error}"), EXPORT)),
    }
}

const EXPORT: &str = "export one: gpg --export-secret-keys KEY-ID > key";

/// The fingerprint of its key.
pub(super) fn fingerprint(listing: &RepoListing) -> Option<String> {
    OpenPgpKey::read(listing.signing_key.as_ref()?).ok().map(|key| key.fingerprint())
}

/// The public half of its key, as it stands in files for clients.
pub(super) fn public_key(listing: &RepoListing) -> Option<String> {
    let key = OpenPgpKey::read(listing.signing_key.as_ref()?).ok()?;
    Some(STANDARD.encode(key.public_key()))
}

/// What a choice means, in words.
pub(super) fn told(repo: &str, listing: Option<&RepoListing>) -> String {
    match listing {
        None => format!(
            "Every member sees all of what is in {repo}. To show each only what they may list: \
             flatpass repo set {repo} --signing-key FILE"
        ),
        Some(listing) => match fingerprint(listing) {
            Some(key) => format!("Each member of {repo} sees what they may list, signed with {key}."),
            None => format!(
                "Each member of {repo} sees what they may list, unsigned: only for clients that verify no signatures."
            ),
        },
    }
}
