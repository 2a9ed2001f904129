//! The list of servers that libostree goes through for each object of a remote: the peer, then the store.
//!
//! It asks the first server for `config`, and leaves out those that do not answer until one does; of the others it believes that they
//! do. After an HTTP error it goes on to the next server, after a broken connection it does not (measured with 2022.7). So there is one
//! peer in a list and not more, and none that does not answer. The store is always there: a list that is empty or missing ends every
//! pull.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use url::Url;

use super::address::PeerUrl;

/// Names the peers in a comment, so that one that was away can be taken up again.
const KNOWN: &str = "# peer ";
/// The largest list that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// The list of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorList {
    /// Peers that may be used, the best one first.
    pub peers: Vec<PeerUrl>,
    /// The one that is used now.
    pub used: Option<PeerUrl>,
    /// The store's own address, as it stands in the remote.
    pub origin: String,
}

impl MirrorList {
    /// Where the list of a remote is. `None` for a name that is no file's.
    #[must_use]
    pub fn path(folder: &Path, remote: &str) -> Option<PathBuf> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = !remote.is_empty() && !remote.starts_with('.') && remote.bytes().all(is_plain);
        is_name.then(|| folder.join(remote))
    }

    /// The value of a remote's `contenturl` that leads to a list.
    #[must_use]
    pub fn content_url(path: &Path) -> Option<String> {
        Some(format!("mirrorlist={}", Url::from_file_path(path).ok()?))
    }

    /// The list that a `contenturl` leads to, if it is in `folder`.
    #[must_use]
    pub fn at(content_url: &str, folder: &Path, remote: &str) -> Option<PathBuf> {
        let path = Self::path(folder, remote)?;
        (Self::content_url(&path)? == content_url).then_some(path)
    }

    /// Reads a list.
    ///
    /// # Errors
    /// The system's, also if it is not a list of ours.
    pub fn read(path: &Path) -> io::Result<Self> {
        let odd = || io::Error::new(io::ErrorKind::InvalidData, "it was changed by hand");
        if fs::metadata(path)?.len() > MAX_BYTES {
            return Err(odd());
        }
        let text = fs::read_to_string(path)?;
        let peer = |text: &str| PeerUrl::parse(text, "").map_err(|_| odd());
        let peers =
            text.lines().filter_map(|line| line.strip_prefix(KNOWN)).map(peer).collect::<io::Result<_>>()?;
        let mut servers = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (first, second) = (servers.next().ok_or_else(odd)?, servers.next());
        let (used, origin) = match second {
            Some(origin) => (Some(peer(first)?), origin),
            None => (None, first),
        };
        if servers.next().is_some() {
            return Err(odd());
        }
        Ok(Self { peers, used, origin: origin.to_owned() })
    }

    fn text(&self) -> String {
        let mut text = "# Written by flatpass-authenticator peers: where objects come from, the peer before the store.\n".to_owned();
        for peer in &self.peers {
            text.push_str(&format!("{KNOWN}{peer}\n"));
        }
        if let Some(peer) = &self.used {
            text.push_str(&format!("{peer}\n"));
        }
        text.push_str(&format!("{}\n", self.origin));
        text
    }

    /// Writes the list in place of what is there, for those who may read `like`: the address of the store may have a secret in it.
    ///
    /// # Errors
    /// The system's. The old list is there then.
    pub fn write(&self, path: &Path, like: &Path) -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(folder)?;
        let new = path.with_file_name(format!(
            ".{}.new",
            path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
        ));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(self.text().as_bytes())?;
        file.set_permissions(Permissions::from_mode(fs::metadata(like)?.permissions().mode() & 0o666))?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_always_names_the_store_and_is_no_more_open_than_the_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config");
        fs::write(&config, "").expect("written");
        fs::set_permissions(&config, Permissions::from_mode(0o640)).expect("set");
        let lists = folder.path().join("flatpass peers");
        let path = MirrorList::path(&lists, "shop").expect("a name");
        let peer = PeerUrl::parse("http://10.0.0.2:8480/repo/apps", "").expect("valid");
        let origin = "https://d:secret@shop.example/repo/apps".to_owned();
        let mut list = MirrorList { peers: vec![peer.clone()], used: Some(peer), origin };
        for _ in 0..2 {
            list.write(&path, &config).expect("written");
            assert_eq!(MirrorList::read(&path).expect("read"), list);
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
            let text = fs::read_to_string(&path).expect("text");
            let servers: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert_eq!(servers.last(), Some(&list.origin.as_str()));
            assert_eq!(servers.len(), 1 + usize::from(list.used.is_some()));
            list.used = None;
        }
        assert_eq!(fs::read_dir(&lists).expect("a folder").count(), 1);
        let url = MirrorList::content_url(&path).expect("a path");
        assert!(url.ends_with("/flatpass%20peers/shop"), "{url}");
        assert_eq!(MirrorList::at(&url, &lists, "shop"), Some(path.clone()));
        assert_eq!(MirrorList::at(&url, &lists, "other"), None);
        assert_eq!(MirrorList::at("mirrorlist=https://shop.example/list", &lists, "shop"), None);
        for name in ["", "..", "a/b", ".new"] {
            assert_eq!(MirrorList::path(&lists, name), None, "{name}");
        }
        for odd in ["", "# nothing\n", "http://a/\nhttp://b/\nhttp://c/\n"] {
            fs::write(&path, odd).expect("written");
            assert!(MirrorList::read(&path).is_err(), "{odd}");
        }
    }
}
