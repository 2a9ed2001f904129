//! What a layout on the disk is compared by.

use std::path::Path;

use crate::disk::{DiskError, FolderStamp, Root, Version};

/// The state of all that says what is in a layout.
#[derive(Debug)]
pub(super) struct Stamps {
    /// Each layout's folder (`""` for the root itself, else with a slash at its end) and its `index.json`.
    layouts: Vec<(String, Option<Version>)>,
    /// Whether another change to one of them would have shown when they were looked at.
    settled: bool,
    /// The folders of blobs, if some of them were not there: they may come yet.
    blobs: Option<Vec<Option<FolderStamp>>>,
}

impl Stamps {
    /// Before the layouts in these folders are read.
    pub(super) fn take(root: &Root, folders: &[String]) -> Result<Self, DiskError> {
        let version = |folder: &String| Ok((folder.clone(), root.version(&format!("{folder}index.json"))?));
        let layouts: Vec<(_, Option<Version>)> =
            folders.iter().map(version).collect::<Result<_, DiskError>>()?;
        let settled = layouts.iter().all(|(_, version)| version.is_none_or(|version| version.is_settled()));
        Ok(Self { layouts, settled, blobs: None })
    }

    /// Blobs are missing: from now on their coming is a change too.
    pub(super) fn with_blobs(self, root: &Root) -> Self {
        Self { blobs: Some(self.stamps_of_blobs(root)), ..self }
    }

    /// Whether the disk is as it was.
    pub(super) fn hold(&self, path: &Path) -> bool {
        let Ok(root) = Root::open(path) else { return false };
        let Ok(folders) = folders(&root) else { return false };
        let Ok(now) = Self::take(&root, &folders) else { return false };
        let blobs_hold = || self.blobs.as_ref().is_none_or(|blobs| *blobs == self.stamps_of_blobs(&root));
        self.settled && self.layouts == now.layouts && blobs_hold()
    }

    fn stamps_of_blobs(&self, root: &Root) -> Vec<Option<FolderStamp>> {
        let stamp = |folder: &String| root.folder_stamp(&format!("{folder}blobs/sha256")).ok().flatten();
        self.layouts.iter().map(|(folder, _)| stamp(folder)).collect()
    }
}

/// The layouts in a folder: itself, or the folders in it, in order.
pub(super) fn folders(root: &Root) -> Result<Vec<String>, DiskError> {
    if root.version("oci-layout")?.is_some() {
        return Ok(vec![String::new()]);
    }
    let mut names = Vec::new();
    root.list_folder(".", |name| {
        // Others are no folders of a publisher's.
        if let Ok(name) = std::str::from_utf8(name)
            && !name.starts_with('.')
        {
            names.push(format!("{name}/"));
        }
    })?;
    names.sort_unstable();
    let mut folders = Vec::new();
    for name in names {
        if root.version(&format!("{name}oci-layout"))?.is_some() {
            folders.push(name);
        }
    }
    Ok(folders)
}
