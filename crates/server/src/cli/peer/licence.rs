//! `flatpass peer licence`.

use std::path::PathBuf;

use clap::Subcommand;
use flatpass_gate::Clock;
use flatpass_peer::{Settings, Site, add_device, add_licence, device_secret_prefix, remove_device, sites};
use flatpass_token::Secret;
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::output::{Answer, table};
use super::super::system_rng;
use super::Which;

/// What can be done with site licences at a peer.
#[derive(Subcommand)]
pub(in crate::cli) enum LicenceCommand {
    /// Take up a licence file that the store's operator made with flatpass licence create
    Add {
        #[command(flatten)]
        which: Which,
        /// The licence
        file: PathBuf,
    },
    /// List the licences, and the devices that use them
    List(Which),
    /// Let a device use a licence, and print the secret for its remote's URL, once
    #[command(after_help = "Example:\n  flatpass peer licence device 'North mine' pit-3\n\n\
        It prints the URL for the device: flatpak remote-add site http://device:SECRET@PEER:8480/repo/NAME")]
    Device {
        #[command(flatten)]
        which: Which,
        /// The site, as its licence calls it, or the licence's id
        site: String,
        /// What the device is called
        name: String,
    },
    /// Take a device out, so that another may come in
    Remove {
        #[command(flatten)]
        which: Which,
        /// The site, as its licence calls it, or the licence's id
        site: String,
        /// What the device is called
        name: String,
    },
}

pub(super) fn run(command: LicenceCommand) -> Result<Answer, Failure> {
    let now = Clock::system().now().unix();
    match command {
        LicenceCommand::Add { which, file } => {
            let text = std::fs::read_to_string(&file).map_err(|error| {
                Failure::told(
                    format!("cannot read {}: {error}", file.display()),
                    "name the file that the store's operator sent",
                )
            })?;
            let licence = add_licence(&which.dir, &text, now)?;
            let said = format!(
                "{}: {} devices until {}. Next, for each device:\n  flatpass peer licence device '{}' NAME",
                licence.sub, licence.devices, licence.exp, licence.sub
            );
            Ok(Answer::new(
                said,
                json!({ "site": licence.sub, "devices": licence.devices, "until": licence.exp }),
            ))
        }
        LicenceCommand::List(which) => {
            let all = sites(&which.dir)?;
            let rows: Vec<_> = all
                .iter()
                .map(|site| {
                    let names: Vec<_> = site.devices.keys().cloned().collect();
                    let used = format!("{} of {}", site.devices.len(), site.licence.devices);
                    let until = site.licence.exp.to_string();
                    let until = if site.licence.exp <= now { format!("ENDED {until}") } else { until };
                    [site.licence.sub.clone(), until, used, names.join(" ")]
                })
                .collect();
            let none = "No site licence. Its maker is the store's operator: flatpass licence create";
            let head = ["site", "until", "devices", "they are"];
            Ok(Answer::new(table(head, &rows, none), Value::Array(all.iter().map(described).collect())))
        }
        LicenceCommand::Device { which, site, name } => {
            let settings = Settings::load(&which.dir)?;
            let secret = Secret::generate(device_secret_prefix(), &mut system_rng());
            let site = add_device(&which.dir, &site, &name, &secret, now)?;
            let at = format!("PEER:{}/repo/{}", settings.listen.port(), settings.repo);
            let url = format!("http://device:{}@{at}", secret.expose());
            let said = format!(
                "{name} is device {} of {} of {}. It counts within half a minute. On the device, with the peer's name for PEER:\n  \
                 flatpak remote-add --user site {url}",
                site.devices.len(),
                site.licence.devices,
                site.licence.sub
            );
            Ok(Answer::new(said, json!({ "device": name, "secret": secret.expose(), "url": url })))
        }
        LicenceCommand::Remove { which, site, name } => {
            let site = remove_device(&which.dir, &site, &name)?;
            Ok(Answer::new(format!("{name} is out; it is refused within half a minute."), described(&site)))
        }
    }
}

fn described(site: &Site) -> Value {
    let devices =
        site.devices.iter().map(|(name, device)| json!({ "name": name, "added_at": device.added_at }));
    json!({
        "site": site.licence.sub, "id": site.licence.jti, "until": site.licence.exp, "devices": site.licence.devices,
        "in_use": devices.collect::<Vec<_>>(),
    })
}
