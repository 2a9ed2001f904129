//! Lists of what a repository has: tags and referrers (distribution-spec, "Content Discovery").

use flatpass_oci::{Digest, MediaType, RepositoryName, Tag};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::layout::Repository;
use super::refusal::Refusal;
use crate::answer::{Answer, HeadWriter};
use crate::request::Request;
use crate::resource::Caching;

/// The value of a query's parameter.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(found, _)| *found == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// `tags/list`, of the tags that may be seen: `n` of them, after `last`, in the order of their bytes.
pub(super) fn tags(
    name: &RepositoryName,
    repository: &Repository,
    request: &Request<'_>,
    caching: Caching,
    may_be_seen: impl Fn(&Digest) -> bool,
) -> Result<Answer, Refusal> {
    let most = match parameter(request.query, "n") {
        Some(text) => text.parse().map_err(|_| Refusal::Number)?,
        None => usize::MAX,
    };
    let last = parameter(request.query, "last").unwrap_or_default();
    let seen = |(tag, digest): (&Tag, &Digest)| may_be_seen(digest).then(|| tag.as_str().to_owned());
    let mut tags = repository.tags.iter().filter_map(seen).filter(|tag| *tag > last);
    let page: Vec<_> = tags.by_ref().take(most).collect();
    let next = page.last().filter(|_| tags.next().is_some()).map(|last| {
        // All that a tag is made of stands for itself in a query.
        format!("</v2/{name}/tags/list?n={most}&last={last}>; rel=\"next\"")
    });
    let head = head(caching).optional("Link", next.as_deref());
    Ok(head.answer(
        request.method,
        "application/json",
        json!({ "name": name.as_str(), "tags": page }).to_string(),
    ))
}

/// `referrers/DIGEST`: an index of the manifests whose subject that is, of one type if `artifactType` names it.
pub(super) fn referrers(
    repository: Option<&Repository>,
    subject: &Digest,
    request: &Request<'_>,
    caching: Caching,
    may_be_seen: impl Fn(&Digest) -> bool,
) -> Answer {
    let wanted = parameter(request.query, "artifactType");
    let all = repository.and_then(|repository| repository.referrers.get(subject)).into_iter().flatten();
    let manifests: Vec<_> = all
        .filter(|referrer| wanted.is_none() || referrer.artifact_type == wanted)
        .filter(|referrer| may_be_seen(&referrer.digest))
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::INDEX, "manifests": manifests });
    head(caching).optional("OCI-Filters-Applied", wanted.is_some().then_some("artifactType")).answer(
        request.method,
        MediaType::INDEX,
        index.to_string(),
    )
}

fn head(caching: Caching) -> HeadWriter {
    HeadWriter::new(200)
        .field("Cache-Control", caching.cache_control())
        .optional("Vary", (caching == Caching::Gated).then_some("Authorization"))
}
