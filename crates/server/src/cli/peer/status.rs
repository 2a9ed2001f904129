//! `flatpass peer status`.

use flatpass_gate::Clock;
use flatpass_peer::{Settings, Trust};
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Answer;
use super::Which;

pub(super) fn run(which: &Which) -> Result<Answer, Failure> {
    let (settings, trust) = (Settings::load(&which.dir)?, Trust::load(&which.dir)?);
    let now = Clock::system().now().unix();
    let keys = trust.keys()?;
    let kids: Vec<&str> = keys.iter().map(flatpass_token::PublicKey::kid).collect();
    let until = trust.ends_at(settings.offline_for_days);
    let state =
        if now < until { "tokens are taken" } else { "NO tokens are taken: it was offline for too long" };
    let contents = flatpass_peer::contents(&which.dir)?;
    let mut text = format!(
        "Peer of {}, policy {}.\nThe store was last reached at {}; {state}, until {until}.\n",
        trust.info.repo_url, trust.info.policy, trust.seen_at
    );
    text.push_str(&format!("Keys: {}\n", kids.join(", ")));
    text.push_str(&format!(
        "Here: {} files with {} bytes of at most {}, in {} commits.",
        contents.files,
        contents.bytes,
        settings.max_size,
        contents.commits.len()
    ));
    for (name, commit) in &contents.commits {
        text.push_str(&format!("\n  {name}  {commit}"));
    }
    let json = json!({
        "repo_url": trust.info.repo_url, "policy": trust.info.policy, "seen_at": trust.seen_at, "trusted_until": until,
        "keys": kids, "files": contents.files, "bytes": contents.bytes, "max_size": settings.max_size,
        "commits": contents.commits.iter().map(|(name, commit)| json!({ "ref": name, "commit": commit })).collect::<Vec<_>>(),
    });
    Ok(Answer::new(text, json))
}
