//! Whether prices and token types say the same.

use std::collections::{BTreeMap, BTreeSet};

use flatpass_store::{RepoPolicy, owner_of};
use flatpass_token::{RefKind, RefName};

use super::{Look, Published, Weight};

/// The token type that is written onto commits of apps that must be bought.
const MUST_BE_BOUGHT: i32 = 2;

impl Look<'_> {
    pub(super) fn at_token_types(&mut self, refs: &[Published]) {
        if self.repo.policy == RepoPolicy::Open {
            self.at_prices_in_an_open_repo();
            return;
        }
        let is_app = |one: &&Published| one.name.kind() == RefKind::App;
        let apps: BTreeSet<&str> = refs.iter().filter(is_app).map(|one| one.name.id()).collect();
        let priced = self.priced.clone();
        let mut unsold: BTreeMap<&str, &RefName> = BTreeMap::new();
        for one in refs {
            let known = priced.iter().map(String::as_str).chain(apps.iter().copied());
            let owner = owner_of(one.name.id(), known).unwrap_or(one.name.id());
            let owner_type =
                refs.iter().find(|other| other.name.id() == owner).and_then(|app| app.token_type);
            if !self.is_open(one.token_type) {
                if one.token_type == Some(MUST_BE_BOUGHT) && !priced.contains(owner) {
                    unsold.entry(owner).or_insert(&one.name);
                }
            } else if priced.contains(owner) {
                self.at_priced_without_token_type(one, owner);
            } else if !self.is_open(owner_type) {
                let what = format!(
                    "{} belongs to {owner}, which needs a token, but its own token type is {}: everybody may have it.",
                    one.name,
                    one.token_type.unwrap_or(0)
                );
                let mend = self.retype(&one.name, owner_type.unwrap_or(MUST_BE_BOUGHT));
                self.problem("extension-open", what, mend);
            }
        }
        for (app, name) in unsold {
            let what = format!(
                "{name} has the token type 2 (must be bought), but {app} has no price: nobody can buy it."
            );
            let mend = format!("flatpass app price {} {app} 5.00 EUR", self.repo.name);
            let advice = format!("Or give it away one by one: flatpass grant EMAIL {} {app}", self.repo.name);
            self.found(Weight::Note, "no-price", what, vec![mend]).advice = Some(advice);
        }
        for app in priced.iter().filter(|app| !apps.contains(app.as_str())) {
            let what = format!("{app} has a price, but the repository has no app of this id.");
            let mend = format!("flatpass app remove {} {app}", self.repo.name);
            self.problem("priced-not-published", what, vec![mend]).advice =
                Some("Or publish it with flatpak build-export.".to_owned());
        }
    }

    fn at_prices_in_an_open_repo(&mut self) {
        let Some(app) = self.priced.first() else { return };
        let what = format!("{app} has a price, but the policy open serves it to everybody.");
        let name = &self.repo.name;
        let mend = vec![
            format!("flatpass repo remove {name}"),
            format!("flatpass repo add {name} {} --policy refs", self.path),
        ];
        self.problem("open-with-prices", what, mend).advice =
            Some("Then set the prices again: removing a repo forgets them.".to_owned());
    }

    /// The gate guards it all the same, but clients do not know that they need a token.
    fn at_priced_without_token_type(&mut self, one: &Published, owner: &str) {
        let why = match owner == one.name.id() {
            true => "has a price".to_owned(),
            false => format!("belongs to {owner}, which has a price"),
        };
        let what = format!(
            "{} {why}, but its commit has the token type {}: clients will not ask for a token and be refused.",
            one.name,
            one.token_type.unwrap_or(0)
        );
        let mend = self.retype(&one.name, MUST_BE_BOUGHT);
        self.problem("priced-without-token-type", what, mend);
    }

    /// How to give a ref a new commit with a token type. `--force`, because the content is the same.
    fn retype(&self, name: &RefName, token_type: i32) -> Vec<String> {
        let path = &self.path;
        vec![
            format!(
                "flatpak build-commit-from --force --no-update-summary --token-type={token_type} --src-ref={name} {path} {name}"
            ),
            self.update(&[]),
        ]
    }
}
