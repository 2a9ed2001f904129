//! Which kinds of manifests a client takes: `Accept` (RFC 9110, 12.5.1), as far as registries go by it.

/// A media type that a manifest or an index of images can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// `application/vnd.oci.image.manifest.v1+json`
    Manifest,
    /// `application/vnd.oci.image.index.v1+json`
    Index,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerIndex,
}

impl ManifestKind {
    const ALL: [Self; 4] = [Self::Manifest, Self::Index, Self::DockerManifest, Self::DockerIndex];

    /// The kind with that media type.
    pub fn of(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type().eq_ignore_ascii_case(media_type))
    }

    /// As it is written.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Manifest => "application/vnd.oci.image.manifest.v1+json",
            Self::Index => "application/vnd.oci.image.index.v1+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerIndex => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Manifest => 1,
            Self::Index => 2,
            Self::DockerManifest => 4,
            Self::DockerIndex => 8,
        }
    }
}

/// The `Accept` fields of a request: clients send one with a list, or one for each type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// Whether there is such a field at all: without one everything is taken.
    said: bool,
    kinds: u8,
}

impl Accept {
    /// Takes note of one field. What cannot be read takes nothing.
    pub(crate) fn note(&mut self, value: &[u8]) {
        self.said = true;
        for range in value.split(|byte| *byte == b',') {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let kind = parts.next().unwrap_or_default();
            if parts.any(is_nothing) {
                continue;
            }
            self.kinds |= match kind {
                b"*/*" | b"application/*" => u8::MAX,
                kind => {
                    std::str::from_utf8(kind).ok().and_then(ManifestKind::of).map_or(0, ManifestKind::bit)
                }
            };
        }
    }

    /// Whether the client takes this kind.
    pub const fn takes(self, kind: ManifestKind) -> bool {
        !self.said || self.kinds & kind.bit() != 0
    }
}

/// Whether a parameter is a weight of zero: not this one.
fn is_nothing(parameter: &[u8]) -> bool {
    let Some((b'q' | b'Q', weight)) = parameter.split_first() else { return false };
    let Some((b'=', weight)) = weight.trim_ascii().split_first() else { return false };
    let weight = weight.trim_ascii();
    weight.first() == Some(&b'0') && weight.iter().all(|byte| matches!(byte, b'0' | b'.'))
}

/// Whether an `Accept-Encoding` field (RFC 9110, 12.5.3) takes gzip.
pub(crate) fn takes_gzip(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|coding| {
        let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        (name.eq_ignore_ascii_case(b"gzip") || name == b"*") && !parts.any(is_nothing)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_read_as_registry_clients_write_it() {
        let index = ManifestKind::Index;
        for (fields, taken) in [
            (&[][..], true),
            (&["*/*"], true),
            (&["text/html, application/*;q=0.1"], true),
            (&["Application/vnd.oci.image.INDEX.v1+json"], true),
            (
                &["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"],
                true,
            ),
            (&["application/vnd.oci.image.manifest.v1+json,application/vnd.oci.image.index.v1+json"], true),
            (&["application/vnd.oci.image.index.v1+json; q=0.5"], true),
            (&["application/vnd.oci.image.index.v1+json; q=0.00"], false),
            (&["application/vnd.oci.image.manifest.v1+json"], false),
            (&["text/html"], false),
            (&[""], false),
            (&["\u{e4}, *"], false),
        ] {
            let mut accept = Accept::default();
            fields.iter().for_each(|field| accept.note(field.as_bytes()));
            assert_eq!(accept.takes(index), taken, "{fields:?}");
        }
    }
}
