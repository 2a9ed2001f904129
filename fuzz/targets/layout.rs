//! Image layouts: whatever stands in `index.json` and in a blob, reading it ends, and what is served is what its digest says.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use flatpass_gate::Layout;
use flatpass_oci::Digest;
use libfuzzer_sys::fuzz_target;

/// A layout whose files are written over for each input.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn make() -> Self {
        // In memory where that is possible: each input writes several files.
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let root = base.join(format!("flatpass-fuzz-layout-{}", std::process::id()));
        fs::create_dir_all(root.join("blobs/sha256")).expect("a scratch folder");
        fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a scratch file");
        Self(root)
    }
}

thread_local! {
    static FOLDER: RefCell<Option<Folder>> = const { RefCell::new(None) };
}

// The input's lines are blobs, each of which the next ones can name as `@0`, `@1` …; the last is `index.json`.
fuzz_target!(|text: &str| {
    FOLDER.with_borrow_mut(|folder| {
        let root = &folder.get_or_insert_with(Folder::make).0;
        let mut written: Vec<(PathBuf, String)> = Vec::new();
        let named = |line: &str, written: &[(PathBuf, String)]| {
            written.iter().enumerate().take(10).fold(line.to_owned(), |line, (number, (path, content))| {
                let hex = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                line.replace(&format!("@{number}"), &format!("sha256:{hex}"))
                    .replace(&format!("#{number}"), &content.len().to_string())
            })
        };
        let mut lines: Vec<_> = text.lines().take(11).collect();
        let index = lines.pop().unwrap_or_default();
        for line in lines {
            let content = named(line, &written);
            let path = root.join("blobs/sha256").join(Digest::of(content.as_bytes()).hex());
            fs::write(&path, &content).expect("a scratch blob");
            written.push((path, content));
        }
        fs::write(root.join("index.json"), named(index, &written)).expect("a scratch index");
        if let Ok(layout) = Layout::read(root, "apps") {
            for image in layout.catalogue().images() {
                let there = written.iter().any(|(_, content)| Digest::of(content.as_bytes()) == image.digest);
                assert!(there, "an image that is nowhere");
                assert!(image.repository.as_str().starts_with("apps/"));
            }
        }
        for (path, _) in written {
            let _gone = fs::remove_file(path);
        }
    });
});
