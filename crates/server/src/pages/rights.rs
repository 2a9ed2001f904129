//! What the account page says of groups, rights and the address.

use std::collections::HashMap;

use flatpass_store::{Entitlement, GroupId, Holder, Role};

use super::words;
use crate::app::App;
use crate::web::browser::SignedIn;
use crate::web::page::PageError;

pub(crate) struct GroupLine {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) role: &'static str,
    pub(crate) since: String,
    pub(crate) manages: bool,
}

pub(crate) struct RightLine {
    pub(crate) what: String,
    pub(crate) allows: String,
}

pub(crate) struct Rights {
    pub(crate) groups: Vec<GroupLine>,
    pub(crate) rights: Vec<RightLine>,
    pub(crate) proved: bool,
    /// Whether a link can be sent that proves the address.
    pub(crate) mails: bool,
}

impl Rights {
    pub(crate) async fn of(app: &App, signed_in: &SignedIn) -> Result<Self, PageError> {
        let account = &signed_in.account.id;
        let memberships = app.store.memberships(account).await?;
        let titles: HashMap<GroupId, String> =
            memberships.iter().map(|one| (one.group.id.clone(), one.group.title.clone())).collect();
        let entitlements = app.store.entitlements(account, None, app.now()).await?;
        Ok(Self {
            groups: memberships
                .into_iter()
                .map(|one| GroupLine {
                    id: one.group.id.0,
                    title: one.group.title,
                    role: one.role.as_str(),
                    since: words::moment(one.joined_at),
                    manages: one.role >= Role::Manager,
                })
                .collect(),
            rights: entitlements.iter().map(|one| line(one, &titles)).collect(),
            proved: signed_in.account.email_verified_at.is_some(),
            mails: app.config.mail.is_some(),
        })
    }
}

fn line(one: &Entitlement, titles: &HashMap<GroupId, String>) -> RightLine {
    let mut what = match one.app.to_string().as_str() {
        "*" => format!("Everything in {}", one.repo),
        app => format!("{app} in {}", one.repo),
    };
    if let Some(branch) = &one.branch {
        what.push_str(&format!(", branch {branch}"));
    }
    let verbs: Vec<_> = one.verbs.iter().map(|verb| verb.as_str()).collect();
    let mut allows = format!("{}, since {}", verbs.join(", "), words::moment(one.starts_at));
    if let Some(end) = one.ends_at {
        allows.push_str(&format!(", until {}", words::moment(end)));
    }
    if let Some(last) = one.commits_until() {
        allows.push_str(&format!(", versions until {}", words::moment(last)));
    }
    if let Some(plan) = &one.plan {
        allows.push_str(&format!(", by the plan {plan}"));
    }
    if let Holder::Group(id) = &one.holder
        && let Some(title) = titles.get(id)
    {
        allows.push_str(&format!(", through {title}"));
    }
    RightLine { what, allows }
}
