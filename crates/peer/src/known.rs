//! What a peer knows of its store at one moment.

use flatpass_gate::Rules;
use flatpass_ostree::Checksum;

use crate::listed::Listed;
use crate::trust::Trust;

/// All of it, made anew when anything of it changes.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) trust: Trust,
    pub(crate) rules: Rules,
    pub(crate) listed: Listed,
}

impl Known {
    pub(crate) fn new(trust: Trust, listed: Listed) -> Self {
        let rules = trust.info.rules();
        Self { trust, rules, listed }
    }

    /// Whether everybody may have that commit, as far as the summary says.
    pub(crate) fn is_open(&self, commit: &Checksum) -> bool {
        self.rules.policy() == flatpass_gate::Policy::Open || self.listed.is_open(commit, &self.rules)
    }
}
