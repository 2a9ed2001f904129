//! Who can read a file: what a person is told about the secret in it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Who can read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readers {
    /// Its owner (and root).
    Owner,
    /// The members of a group as well.
    Group,
    /// Every user of this computer.
    Everyone,
}

/// Who can read the file, by its mode and the modes of the folders above it. A file that is not there yet counts as one
/// of mode 0644, which Flatpak gives its configuration; a folder that is not there does not count.
#[must_use]
pub fn readers_of(path: &Path) -> Readers {
    let mut readers = readers_by(fs::metadata(path).map_or(0o644, |file| file.mode()), 0o4);
    for folder in path.ancestors().skip(1) {
        if let Ok(folder) = fs::metadata(folder) {
            readers = readers.min(readers_by(folder.mode(), 0o1));
        }
    }
    readers
}

/// Who has the permission `bit` by this mode.
fn readers_by(mode: u32, bit: u32) -> Readers {
    if mode & bit != 0 {
        Readers::Everyone
    } else if mode & (bit << 3) != 0 {
        Readers::Group
    } else {
        Readers::Owner
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_closed_folder_hides_an_open_file() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("folder");
        fs::create_dir(&folder).expect("made");
        let file = folder.join("config");
        fs::write(&file, "x").expect("written");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        };
        // A temporary folder is 0700 itself.
        mode(above.path(), 0o755);
        for (folder_mode, file_mode, readers) in [
            (0o755, 0o644, Readers::Everyone),
            (0o711, 0o644, Readers::Everyone),
            (0o755, 0o640, Readers::Group),
            (0o750, 0o644, Readers::Group),
            (0o700, 0o644, Readers::Owner),
            (0o755, 0o600, Readers::Owner),
        ] {
            mode(&folder, folder_mode);
            mode(&file, file_mode);
            assert_eq!(readers_of(&file), readers, "{folder_mode:o} {file_mode:o}");
        }
        fs::remove_file(&file).expect("removed");
        mode(&folder, 0o755);
        assert_eq!(readers_of(&file), Readers::Everyone, "what flatpak will write can be read by all");
    }
}
