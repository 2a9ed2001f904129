//! How the source of a repo is written: a directory, `oci-layout:DIRECTORY`, or `oci://HOST[:PORT][/NAMESPACE]`.

use std::path::PathBuf;
use std::str::FromStr;

use flatpass_oci::RepositoryName;
use url::Url;

/// Where a repo is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Location {
    /// The directory of an OSTree repository.
    Directory(PathBuf),
    /// The directory of an OCI image layout.
    OciLayout(PathBuf),
    /// A registry, or a part of one.
    Registry {
        /// With a slash at the end.
        url: Url,
        /// Everything below this name.
        namespace: Option<String>,
    },
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("oci-layout:") {
            return Ok(Self::OciLayout(path.into()));
        }
        let https = text.strip_prefix("oci://").or_else(|| text.strip_prefix("oci+https://"));
        let address = match (https, text.strip_prefix("oci+http://")) {
            (Some(rest), _) => format!("https://{rest}"),
            (None, Some(rest)) => format!("http://{rest}"),
            (None, None) => return Ok(Self::Directory(text.into())),
        };
        let wrong = |why: &str| format!("{why}; write oci://HOST[:PORT][/NAMESPACE]");
        let mut url = Url::parse(&address).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a user or password does not belong there, use --robot"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has more than a host and a namespace"));
        }
        let namespace = url.path().trim_matches('/').to_owned();
        let namespace = match namespace.as_str() {
            "" => None,
            text => Some(RepositoryName::parse(text).map_err(|error| wrong(&error.to_string()))?.to_string()),
        };
        url.set_path("/");
        Ok(Self::Registry { url, namespace })
    }
}

/// What a registry at that address calls itself, unless it says otherwise: its host, and its port if that is not the usual one.
pub(in crate::cli) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a password may go there: nobody on the way can read it.
pub(in crate::cli) fn is_secret(url: &Url) -> bool {
    url.scheme() == "https" || url.host().is_some_and(|host| flatpass::config::is_loopback(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_directory_a_layout_or_a_registry_and_nothing_in_between() {
        let registry = |url: &str, namespace: Option<&str>| Location::Registry {
            url: url.parse().unwrap(),
            namespace: namespace.map(str::to_owned),
        };
        for (text, expected) in [
            ("/srv/repo", Location::Directory("/srv/repo".into())),
            ("oci-layout:/srv/images", Location::OciLayout("/srv/images".into())),
            ("oci://Registry.test", registry("https://registry.test/", None)),
            ("oci+https://registry.test:443/shop/", registry("https://registry.test/", Some("shop"))),
            ("oci+http://127.0.0.1:5000/a/b", registry("http://127.0.0.1:5000/", Some("a/b"))),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "oci://",
            "oci://u@h",
            "oci://u:p@h/",
            "oci://h?x",
            "oci://h#x",
            "oci://h/Shop",
            "oci://h/a//b",
            "oci://h/a:1",
        ] {
            let wrong = text.parse::<Location>().unwrap_err();
            assert!(wrong.contains("oci://HOST"), "{text}: {wrong}");
        }
    }
}
