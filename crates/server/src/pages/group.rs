//! `GET /groups/ID`: the members of a group, for its owners and managers, with what they may change below it. For everybody else
//! there is no such page. `POST /groups/ID/leave` is for each member.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{AccountId, Group, GroupId, InvitationId, MemberError, NewInvitation, Role, StoreError};

use super::sign_up::sentence;
use super::words;
use crate::app::{App, Rng};
use crate::web::browser::{Browser, SignedIn};
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::path_segment;

const DAY: i64 = 24 * 60 * 60;
/// The most people and days that one link may have.
const MOST_USES: u32 = 1000;
const MOST_DAYS: i64 = 365;

struct MemberLine {
    account: String,
    email: String,
    name: String,
    role: &'static str,
    since: String,
    /// Whether who looks may change this one.
    yields: bool,
}

impl MemberLine {
    fn has(&self, role: &str) -> bool {
        self.role == role
    }
}

struct InvitationLine {
    id: String,
    role: &'static str,
    email: String,
    used: String,
    until: String,
}

#[derive(Template)]
#[template(path = "group.html")]
struct GroupPage {
    frame: Frame,
    id: String,
    title: String,
    roles: Vec<&'static str>,
    members: Vec<MemberLine>,
    invitations: Vec<InvitationLine>,
    domains: Vec<String>,
    /// A new link, shown this once.
    link: Option<String>,
    /// Somebody was just removed, and may come back by a link that still works.
    may_come_back: bool,
    email: String,
    email_error: Option<String>,
}

impl From<MemberError> for PageError {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::Store(StoreError::NoGroup(_)) => Self::NotFound,
            MemberError::Store(error) => error.into(),
            other => Self::Refused(sentence(&other.to_string())),
        }
    }
}

/// The group with the role that the person has in it.
async fn own(app: &App, signed_in: &SignedIn, id: &str) -> Result<(Group, Role), PageError> {
    let memberships = app.store.memberships(&signed_in.account.id).await?;
    let found = memberships.into_iter().find(|one| one.group.id.as_str() == id);
    found.map(|one| (one.group, one.role)).ok_or(PageError::NotFound)
}

async fn managed(app: &App, signed_in: &SignedIn, id: &str) -> Result<(Group, Role), PageError> {
    own(app, signed_in, id)
        .await
        .and_then(|found| if found.1 >= Role::Manager { Ok(found) } else { Err(PageError::NotFound) })
}

#[derive(Default)]
struct Invited {
    link: Option<String>,
    removed: bool,
    email: String,
    email_error: Option<String>,
}

async fn page(
    app: &App,
    browser: &Browser,
    (group, role): (Group, Role),
    invited: Invited,
) -> Result<Response, PageError> {
    let status =
        if invited.email_error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let members = app.store.members(&group.id).await?.into_iter().map(|member| MemberLine {
        account: member.account_id.0,
        email: member.email,
        name: member.name.unwrap_or_default(),
        role: member.role.as_str(),
        since: words::moment(member.joined_at),
        yields: member.role <= role,
    });
    let invitations = app.store.invitations(&group.id, app.now()).await?.into_iter();
    let invitations = invitations.filter(|one| one.role <= role).map(|one| InvitationLine {
        id: one.id.0,
        role: one.role.as_str(),
        email: one.email.unwrap_or_default(),
        used: format!("{} of {}", one.uses, one.max_uses),
        until: words::moment(one.expires_at),
    });
    let invitations: Vec<_> = invitations.collect();
    let roles = [Role::Member, Role::Manager, Role::Owner].into_iter().filter(|one| *one <= role);
    let (csrf, cookie) = browser.form_token(app);
    let template = GroupPage {
        frame: Frame::new(app, browser, csrf),
        roles: roles.map(Role::as_str).collect(),
        members: members.collect(),
        may_come_back: invited.removed && !invitations.is_empty(),
        invitations,
        domains: app.store.domains(&group.id).await?,
        id: group.id.0,
        title: group.title,
        link: invited.link,
        email: invited.email,
        email_error: invited.email_error,
    };
    Ok(render(status, &template, cookie, None))
}

fn here(id: &str) -> String {
    format!("/groups/{}", path_segment(id))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(id): Path<String>,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let signed_in = browser.require(&here(&id))?;
    let managed = managed(&app, signed_in, &id).await?;
    let removed = query?.0.get("removed").is_some();
    page(&app, &browser, managed, Invited { removed, ..Invited::default() }).await
}

pub(crate) async fn invite(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(id): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let signed_in = browser.require(&here(&id))?;
    let found = managed(&app, signed_in, &id).await?;
    let wrong =
        || PageError::BadRequest("Choose a role, how many may join, and for how many days.".to_owned());
    let number = |name: &str, otherwise: u32| match form.get(name) {
        None => Ok(otherwise),
        Some(text) => text.parse::<u32>().map_err(|_| wrong()),
    };
    let (uses, days) =
        (number("uses", 1)?.clamp(1, MOST_USES), i64::from(number("days", 7)?).clamp(1, MOST_DAYS));
    let new = NewInvitation {
        role: form.text("role").parse().map_err(|_| wrong())?,
        email: form.get("email").map(str::to_owned),
        max_uses: uses,
        expires_at: app.now().plus_seconds(days * DAY),
    };
    let by = &signed_in.account.id;
    let invited =
        match app.store.invite(&found.0.id, new, Some(by), app.now(), Rng::system().as_random()).await {
            Ok((secret, _)) => Invited {
                link: Some(app.config.at(&format!("join/{}", secret.expose()))),
                ..Invited::default()
            },
            Err(MemberError::Store(StoreError::Email(error))) => Invited {
                email: form.text("email").to_owned(),
                email_error: Some(sentence(&error.to_string())),
                ..Invited::default()
            },
            Err(error) => return Err(error.into()),
        };
    page(&app, &browser, found, invited).await
}

pub(crate) async fn revoke_invitation(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((id, invitation)): Path<(String, String)>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let signed_in = browser.require(&here(&id))?;
    let (group, _) = managed(&app, signed_in, &id).await?;
    let by = Some(&signed_in.account.id);
    app.store.revoke_invitation(&group.id, &InvitationId(invitation), by, app.now()).await?;
    Ok(see_other(&here(&id), None))
}

pub(crate) async fn set_role(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((id, account)): Path<(String, String)>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let signed_in = browser.require(&here(&id))?;
    let (group, _) = managed(&app, signed_in, &id).await?;
    let role = form.text("role").parse().map_err(|_| PageError::BadRequest("Choose a role.".to_owned()))?;
    app.store.set_role(&group.id, &AccountId(account), role, Some(&signed_in.account.id)).await?;
    Ok(see_other(&here(&id), None))
}

pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((id, account)): Path<(String, String)>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let signed_in = browser.require(&here(&id))?;
    let (group, _) = managed(&app, signed_in, &id).await?;
    let by = Some(&signed_in.account.id);
    app.store.remove_member(&group.id, &AccountId(account), by, app.now()).await?;
    Ok(see_other(&format!("{}?removed=yes", here(&id)), None))
}

pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(id): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let account = &browser.require("/account")?.account.id;
    // Who is not in it is told what who asks for a group that is not there is told.
    let left = app.store.remove_member(&GroupId(id), account, Some(account), app.now()).await;
    match left {
        Err(MemberError::NotAllowed | MemberError::NotAMember) => return Err(PageError::NotFound),
        other => other?,
    }
    Ok(see_other("/account", None))
}
