//! `flatpass group`: companies, teams, customers.

use clap::Subcommand;
use flatpass_store::{Group, InvitationId, MemberError, NewInvitation, Role};
use flatpass_token::UnixTime;
use serde_json::json;

use super::failure::Failure;
use super::moment::{must_be_ahead, parse_until};
use super::output::{Answer, table};
use super::{Shop, system_rng, unproved};

/// How long an invitation works when nobody says it.
const INVITATION_SECONDS: i64 = 7 * 24 * 60 * 60;

/// What can be done with groups.
#[derive(Subcommand)]
pub(super) enum GroupCommand {
    /// Make a group without members
    #[command(after_help = "Example:\n  flatpass group add acme --title 'Acme GmbH'\n  \
        flatpass grant --group acme internal '*'\n  flatpass group invite acme --role owner")]
    Add {
        /// Its name: a-z, 0-9, '.', '_' and '-'
        name: String,
        /// What people read
        #[arg(long)]
        title: Option<String>,
    },
    /// Remove a group: what its members had through it ends now
    Remove {
        /// Its name
        name: String,
    },
    /// List the groups
    List,
    /// List the members of a group
    Members {
        /// The group's name
        name: String,
    },
    /// Make an account a member
    AddMember {
        /// The group's name
        name: String,
        /// The account's e-mail address, or robot/NAME
        email: String,
        /// owner, manager or member
        #[arg(long, default_value_t = Role::Member)]
        role: Role,
    },
    /// End a membership: what the account had through the group alone ends now
    RemoveMember {
        /// The group's name
        name: String,
        /// The account's e-mail address
        email: String,
    },
    /// Give a member another role: owners and managers invite and remove people on the group's page
    Role {
        /// The group's name
        name: String,
        /// The account's e-mail address
        email: String,
        /// owner, manager or member
        role: Role,
    },
    /// Make a link by which people join, and print it, once
    Invite {
        /// The group's name
        name: String,
        /// What they become: owner, manager or member
        #[arg(long, default_value_t = Role::Member)]
        role: Role,
        /// Only for the account that proved this address
        #[arg(long)]
        email: Option<String>,
        /// How many may join by it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        uses: u32,
        /// The last day (UTC), or a moment; a week without it
        #[arg(long, value_name = "DATE", value_parser = parse_until)]
        until: Option<UnixTime>,
    },
    /// List the invitations of a group that can still be used
    Invitations {
        /// The group's name
        name: String,
    },
    /// Take an invitation back; who joined by it stays
    RevokeInvitation {
        /// The group's name
        name: String,
        /// Its id, as `flatpass group invitations` shows it
        id: String,
    },
    /// Let everybody in whose proved e-mail address is in a domain; without DOMAIN, list the domains
    Domain {
        /// The group's name
        name: String,
        /// Such as example.org: exactly it, and none below it
        domain: Option<String>,
        /// Let nobody else in by this domain; who came in by it stays
        #[arg(long, requires = "domain")]
        remove: bool,
    },
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: GroupCommand) -> Result<Answer, Failure> {
    match command {
        GroupCommand::Add { name, title } => {
            let group = shop.store.add_group(&name, title.as_deref(), shop.now, &mut system_rng()).await?;
            let text = format!(
                "Made the group {name}. It has no members and no rights yet.\nNext: flatpass grant --group {name} REPO APP; \
                 flatpass group invite {name} --role owner"
            );
            Ok(Answer::new(text, json!(group)))
        }
        GroupCommand::Remove { name } => {
            let group = shop.group(&name).await?;
            shop.store.remove_group(&group.id, shop.now).await?;
            Ok(Answer::new(format!("Removed the group {name}."), json!({ "removed": group })))
        }
        GroupCommand::List => list(shop).await,
        GroupCommand::Members { name } => members(shop, &name).await,
        GroupCommand::AddMember { name, email, role } => {
            let (group, account) = (shop.group(&name).await?, shop.account(&email).await?);
            let joined =
                shop.store.add_member(&group.id, &account.id, role, shop.now, &mut system_rng()).await?;
            if !joined {
                let next =
                    format!("change its role with: flatpass group role {name} {} {role}", account.email);
                return Err(Failure::told(format!("{} is in {name} already", account.email), next));
            }
            let mut text = format!("{} is in {name} now, as {role}.", account.email);
            text.extend(unproved(&account));
            Ok(Answer::new(text, json!({ "group": group, "member": account.email, "role": role })))
        }
        GroupCommand::RemoveMember { name, email } => {
            let (group, account) = (shop.group(&name).await?, shop.account(&email).await?);
            let done = shop.store.remove_member(&group.id, &account.id, None, shop.now).await;
            done.map_err(|error| refused(error, &name))?;
            let text =
                format!("{} is not in {name} any more.{}", account.email, ownerless(shop, &group).await?);
            Ok(Answer::new(text, json!({ "group": group, "removed": account.email })))
        }
        GroupCommand::Role { name, email, role } => {
            let (group, account) = (shop.group(&name).await?, shop.account(&email).await?);
            let done = shop.store.set_role(&group.id, &account.id, role, None).await;
            done.map_err(|error| refused(error, &name))?;
            let text =
                format!("{} is {role} of {name} now.{}", account.email, ownerless(shop, &group).await?);
            Ok(Answer::new(text, json!({ "group": group, "member": account.email, "role": role })))
        }
        GroupCommand::Invite { name, role, email, uses, until } => {
            must_be_ahead(until, shop.now)?;
            let expires_at = until.unwrap_or(shop.now.plus_seconds(INVITATION_SECONDS));
            invite(shop, &name, NewInvitation { role, email, max_uses: uses, expires_at }).await
        }
        GroupCommand::Invitations { name } => invitations(shop, &name).await,
        GroupCommand::RevokeInvitation { name, id } => {
            let (group, id) = (shop.group(&name).await?, InvitationId(id));
            let done = shop.store.revoke_invitation(&group.id, &id, None, shop.now).await;
            if !done.map_err(|error| refused(error, &name))? {
                let next = format!("see the ids with: flatpass group invitations {name}");
                return Err(Failure::told(format!("{name} has no invitation with this id"), next));
            }
            Ok(Answer::new(format!("{id} is taken back."), json!({ "revoked": id })))
        }
        GroupCommand::Domain { name, domain, remove } => domains(shop, &name, domain, remove).await,
    }
}

fn refused(error: MemberError, group: &str) -> Failure {
    match error {
        MemberError::Store(error) => error.into(),
        other => {
            Failure::told(other.to_string(), format!("see who is in it with: flatpass group members {group}"))
        }
    }
}

/// A note when nobody of the group can look after it.
async fn ownerless(shop: &Shop, group: &Group) -> Result<String, Failure> {
    let members = shop.store.members(&group.id).await?;
    let owned = members.is_empty() || members.iter().any(|member| member.role == Role::Owner);
    Ok(if owned { String::new() } else { format!("\nNote: {} has no owner now.", group.name) })
}

async fn list(shop: &Shop) -> Result<Answer, Failure> {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for group in shop.store.groups().await? {
        let members = shop.store.members(&group.id).await?;
        let domains = shop.store.domains(&group.id).await?;
        rows.push([
            group.name.clone(),
            group.title.clone(),
            members.len().to_string(),
            domains.join(" "),
            group.id.0.clone(),
        ]);
        values.push(json!({ "group": group, "members": members.len(), "domains": domains }));
    }
    let none = "No group yet. Make one with: flatpass group add NAME";
    Ok(Answer::new(table(["group", "title", "members", "domains", "id"], &rows, none), json!(values)))
}

async fn members(shop: &Shop, name: &str) -> Result<Answer, Failure> {
    let group = shop.group(name).await?;
    let members = shop.store.members(&group.id).await?;
    let row = |member: &flatpass_store::Member| {
        let by = member.how.as_str();
        [member.email.clone(), member.role.to_string(), member.joined_at.to_string(), by.to_owned()]
    };
    let rows: Vec<_> = members.iter().map(row).collect();
    let none = format!("{name} has no members. Invite some with: flatpass group invite {name}");
    Ok(Answer::new(table(["e-mail", "role", "since", "by"], &rows, &none), json!(members)))
}

async fn invite(shop: &Shop, name: &str, new: NewInvitation) -> Result<Answer, Failure> {
    let group = shop.group(name).await?;
    let made = shop.store.invite(&group.id, new, None, shop.now, &mut system_rng()).await;
    let (secret, invitation) = made.map_err(|error| refused(error, name))?;
    let link = shop.config.at(&format!("join/{}", secret.expose()));
    let times =
        if invitation.max_uses == 1 { "once".to_owned() } else { format!("{} times", invitation.max_uses) };
    let mut text = format!(
        "Who opens this link becomes {} of {name}. It works {times}, until {}, and is shown only now:\n{link}",
        invitation.role, invitation.expires_at
    );
    if let Some(email) = &invitation.email {
        text.push_str(&format!("\nOnly for {email}, once that address is proved."));
        if shop.config.mail.is_none() {
            text.push_str(&format!("\n{}", by_hand("this store sends no mail", email)));
        }
    }
    Ok(Answer::new(text, json!({ "invitation": invitation, "link": link })))
}

/// How addresses are proved where no mail is sent.
fn by_hand(why: &str, email: &str) -> String {
    format!("Note: {why}. Vouch for an address yourself: flatpass account verify {email}")
}

async fn invitations(shop: &Shop, name: &str) -> Result<Answer, Failure> {
    let group = shop.group(name).await?;
    let invitations = shop.store.invitations(&group.id, shop.now).await?;
    let row = |one: &flatpass_store::Invitation| {
        [
            one.id.0.clone(),
            one.role.to_string(),
            one.email.clone().unwrap_or_default(),
            format!("{}/{}", one.uses, one.max_uses),
            one.expires_at.to_string(),
        ]
    };
    let rows: Vec<_> = invitations.iter().map(row).collect();
    let none = format!("{name} has no invitation. Make one with: flatpass group invite {name}");
    Ok(Answer::new(table(["id", "role", "for", "used", "until"], &rows, &none), json!(invitations)))
}

async fn domains(shop: &Shop, name: &str, domain: Option<String>, remove: bool) -> Result<Answer, Failure> {
    let group = shop.group(name).await?;
    let Some(domain) = domain else {
        let domains = shop.store.domains(&group.id).await?;
        let rows: Vec<_> = domains.iter().map(|domain| [domain.clone()]).collect();
        let none = format!("{name} has no domain. Add one with: flatpass group domain {name} DOMAIN");
        return Ok(Answer::new(table(["domain"], &rows, &none), json!(domains)));
    };
    if remove {
        if !shop.store.remove_domain(&group.id, &domain).await? {
            let next = format!("see its domains with: flatpass group domain {name}");
            return Err(Failure::told(format!("{name} does not have the domain {domain}"), next));
        }
        let text = format!("Nobody else comes into {name} by {domain}. Who is in it stays.");
        return Ok(Answer::new(text, json!({ "group": group, "removed": domain })));
    }
    let joined = shop.store.add_domain(&group.id, &domain, shop.now, &mut system_rng()).await?;
    let mut text = format!("Accounts with a proved address in {domain} join {name}. {joined} joined now.");
    if shop.config.mail.is_none() {
        text.push_str(&format!(
            "\n{}",
            by_hand("there is no [mail] in the configuration, so people cannot prove theirs", "EMAIL")
        ));
    }
    Ok(Answer::new(text, json!({ "group": group, "domain": domain, "joined": joined })))
}
