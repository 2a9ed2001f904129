//! Key files, the form of a repository's `config`. See "Basic format of the file" in the Desktop Entry Specification.

use std::collections::BTreeMap;

/// Groups of keys with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFile(BTreeMap<String, BTreeMap<String, String>>);

impl KeyFile {
    /// Parses a key file. As in GLib, the last of two equal keys counts.
    ///
    /// # Errors
    /// The number, from 1, of the first line that is neither a comment, a group nor a key with a value in a group.
    pub fn parse(text: &str) -> Result<Self, usize> {
        let mut groups: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut current = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.trim_end().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                groups.entry(name.to_owned()).or_default();
                current = Some(name.to_owned());
                continue;
            }
            let group = current.as_ref().and_then(|name| groups.get_mut(name));
            match (group, line.split_once('=')) {
                (Some(group), Some((key, value))) if !key.trim().is_empty() => {
                    group.insert(key.trim().to_owned(), value.trim_start().to_owned());
                }
                _ => return Err(index + 1),
            }
        }
        Ok(Self(groups))
    }

    /// A key's value as it is written.
    #[must_use]
    pub fn get(&self, group: &str, key: &str) -> Option<&str> {
        self.0.get(group)?.get(key).map(String::as_str)
    }

    /// The keys of a group, in alphabetical order.
    pub fn keys(&self, group: &str) -> impl Iterator<Item = &str> {
        self.0.get(group).into_iter().flatten().map(|(key, _)| key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::KeyFile;

    #[test]
    fn keys_are_found_in_their_group_only() {
        let file = KeyFile::parse(
            "# c\n\n[core]\nmode = archive-z2\n[remote \"a\"]\nurl=http://a/?x=y\nurl=http://b/?x=y\n",
        )
        .unwrap();
        assert_eq!(file.get("core", "mode"), Some("archive-z2"));
        assert_eq!(file.get("remote \"a\"", "url"), Some("http://b/?x=y"));
        assert_eq!(file.get("core", "url"), None);
        assert_eq!(file.keys("core").collect::<Vec<_>>(), ["mode"]);
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        assert_eq!(KeyFile::parse("[core]\nmode=x\nnonsense\n"), Err(3));
        assert_eq!(KeyFile::parse("mode=x\n"), Err(1));
        assert_eq!(KeyFile::parse("[core]\n=x\n"), Err(2));
    }
}
