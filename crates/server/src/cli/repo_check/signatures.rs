//! Whether summary and commits are signed. Whether the signatures are good takes the publisher's key, which is not here.

use flatpass_ostree::Signatures;
use flatpass_token::{RefKind, RefName};

use super::{Look, Published};

impl Look<'_> {
    pub(super) fn at_summary_signatures(
        &mut self,
        found: (Option<Signatures>, Option<Signatures>),
        has_index: bool,
    ) {
        let signed =
            |signatures: Option<Signatures>| signatures.is_some_and(|signatures| !signatures.is_empty());
        let unsigned = match (signed(found.0), signed(found.1) || !has_index) {
            (true, true) => return,
            (false, false) => "summary and summary.idx are not signed",
            (false, true) => "summary is not signed",
            (true, false) => "summary.idx is not signed",
        };
        let what = format!(
            "{unsigned}: clients must be told not to check (--no-gpg-verify), and anybody on the way can change it."
        );
        let mend = self.update(&["--gpg-sign=KEY-ID"]);
        self.problem("unsigned-summary", what, vec![mend]);
    }

    pub(super) fn at_commit_signatures(&mut self, refs: &[Published]) {
        let unsigned: Vec<_> = refs.iter().filter(|one| !one.signed).collect();
        let (first, others) = match unsigned.as_slice() {
            [] => return,
            [one] => (&one.name, String::new()),
            [first, others @ ..] => (&first.name, format!(" and of {} more refs", others.len())),
        };
        let what = format!("The commit of {first}{others} is not signed.");
        let mut mend: Vec<_> = unsigned.iter().map(|one| self.sign(&one.name)).collect();
        mend.push(self.update(&["--gpg-sign=KEY-ID"]));
        self.problem("unsigned-commit", what, mend);
    }

    fn sign(&self, name: &RefName) -> String {
        let runtime = if name.kind() == RefKind::Runtime { "--runtime " } else { "" };
        let (path, id, arch, branch) = (&self.path, name.id(), name.arch(), name.branch());
        format!("flatpak build-sign --gpg-sign=KEY-ID --arch={arch} {runtime}{path} {id} {branch}")
    }
}
