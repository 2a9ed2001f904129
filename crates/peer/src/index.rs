//! The store's list of refs, copied as it is: what signs it is not known here, so it is taken whole or not at all.

use flatpass_ostree::repo::KeyFile;
use flatpass_ostree::{Checksum, RepoPath, Signatures, Summary, SummaryIndex};
use flatpass_token::Secret;

use crate::check::{MAX_SUMMARY, Wrong};
use crate::export::ExportTokens;
use crate::fetch::{Failed, Fetcher};
use crate::fill::Parts;
use crate::known::Known;
use crate::{PeerError, durable};

const MAX_CONFIG: usize = 64 << 10;
const MAX_SIGNATURES: usize = 1 << 20;

/// Copies what changed. Gives whether anything did.
pub(crate) async fn copy(parts: &Parts, known: &Known) -> Result<bool, Failed> {
    let fetcher = &parts.fetcher;
    let token = ExportTokens::of_list(&fetcher.wire, parts.robot.as_ref(), &known.trust.info).await?;
    let token = token.as_ref().map(Secret::expose);
    let most = usize::try_from(MAX_SUMMARY).unwrap_or(usize::MAX);
    let config = get(fetcher, token, &RepoPath::Config, MAX_CONFIG).await?.ok_or(Failed::Absent)?;
    must_be_archive(&config)?;
    let mut changed = put(parts, &RepoPath::Config, Some(&config))?;

    let index = get(fetcher, token, &RepoPath::SummaryIdx, most).await?;
    let index_sig = get(fetcher, token, &RepoPath::SummaryIdxSig, MAX_SIGNATURES).await?;
    let summary_sig = get(fetcher, token, &RepoPath::SummarySig, MAX_SIGNATURES).await?;
    for sig in index_sig.iter().chain(&summary_sig) {
        Signatures::parse(sig).map_err(Wrong::from)?;
    }
    if let Some(bytes) = &index {
        let parsed = SummaryIndex::parse(bytes).map_err(Wrong::from)?;
        for entry in parsed.subsummaries.values() {
            fetcher.bring(&RepoPath::SubSummary(entry.checksum), token).await?;
        }
        if let Some(sig) = &index_sig {
            changed |= put(parts, &RepoPath::SummaryIdxSigOf(Checksum::of(bytes)), Some(sig))?;
        }
    }
    changed |= put(parts, &RepoPath::SummaryIdxSig, index_sig.as_deref())?;
    changed |= put(parts, &RepoPath::SummaryIdx, index.as_deref())?;
    // The large one of old clients changes with its signature, or with the index.
    if changed || summary_sig.is_none() || !is_same(parts, &RepoPath::SummarySig, summary_sig.as_deref()) {
        let summary = get(fetcher, token, &RepoPath::Summary, most).await?;
        if let Some(bytes) = &summary {
            Summary::parse(bytes).map_err(Wrong::from)?;
        }
        changed |= put(parts, &RepoPath::SummarySig, summary_sig.as_deref())?;
        changed |= put(parts, &RepoPath::Summary, summary.as_deref())?;
    }
    Ok(changed)
}

async fn get(
    fetcher: &Fetcher,
    token: Option<&str>,
    path: &RepoPath,
    limit: usize,
) -> Result<Option<Vec<u8>>, Failed> {
    match fetcher.bytes(&path.relative_path(), token, limit).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Failed::Absent) => Ok(None),
        Err(error) => Err(error),
    }
}

fn must_be_archive(config: &[u8]) -> Result<(), Failed> {
    let config = str::from_utf8(config).ok().and_then(|text| KeyFile::parse(text).ok());
    let mode = config.as_ref().and_then(|config| config.get("core", "mode")).unwrap_or_default();
    match mode.trim_end() {
        "archive" | "archive-z2" => Ok(()),
        _ => Err(Failed::Wrong(Wrong::Unverifiable)),
    }
}

fn is_same(parts: &Parts, path: &RepoPath, bytes: Option<&[u8]>) -> bool {
    let here = parts.fetcher.folder.read(path, MAX_SUMMARY).ok().flatten();
    here.as_deref() == bytes
}

/// Puts the file there, or takes it away. Gives whether that was needed.
fn put(parts: &Parts, path: &RepoPath, bytes: Option<&[u8]>) -> Result<bool, Failed> {
    if is_same(parts, path, bytes) {
        return Ok(false);
    }
    match bytes {
        Some(bytes) => durable::write(&parts.fetcher.folder.path(path), bytes, false)?,
        None => parts.fetcher.folder.remove(path)?,
    }
    Ok(true)
}

/// In the words of a command.
pub(crate) fn as_error(failed: Failed, host: &str) -> PeerError {
    match failed {
        Failed::Unreachable(what) => PeerError::Unreachable { host: host.to_owned(), what },
        Failed::Refused => PeerError::Refused(format!(
            "{host} does not let this peer have it: ask whoever runs the store to give the peer's robot the right to export it, with \
             flatpass grant robot/NAME REPO APP --verbs download,upgrade,export"
        )),
        other => PeerError::Answer { host: host.to_owned(), what: other.to_string() },
    }
}
