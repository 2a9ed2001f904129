//! The configuration file `flatpass.toml`: what may be set, what it means, and what is wrong with it.
//!
//! Relative paths in the file are relative to the file. The environment variables `FLATPASS_URL`, `FLATPASS_LISTEN` and
//! `FLATPASS_DATABASE` win over it. Keys that nobody reads are errors: a misspelled limit must not be a missing limit.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use flatpass_token::Secret;
use reqwest::Certificate;
use serde::Deserialize;
use url::{Host, Url};

pub use crate::mail::Mail;
use crate::mail::MailSection;
pub use crate::metrics::MetricsSettings;

/// No ref token ever lives longer, whatever the configuration said when it was made, in seconds.
pub const LONGEST_REF_TOKEN_SECONDS: i64 = 86_400;
/// Clocks never differ by more, whatever the configuration said, in seconds.
pub const LONGEST_LEEWAY_SECONDS: i64 = 300;
/// Life of a download token of flat-manager's convention; the convention says so.
pub const DOWNLOAD_TOKEN_SECONDS: i64 = 86_400;
/// Life of an update token; each use begins it anew.
pub const UPDATE_TOKEN_SECONDS: i64 = 180 * 86_400;

/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "FLATPASS_CONFIG";

/// A configuration that can be served.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public base URL: scheme, host and port, with the path `/`.
    pub url: Url,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The database URL, `sqlite:/absolute/path`.
    pub database: String,
    /// The file with the key that seals secrets in the database.
    pub secret_key: PathBuf,
    /// The folder for what can be made anew, such as the indexes of repos' objects.
    pub state: PathBuf,
    /// What the shop calls itself on its pages.
    pub name: String,
    /// Certificate and key when this server ends TLS itself.
    pub tls: Option<Tls>,
    /// Lifetimes of tokens.
    pub tokens: Tokens,
    /// The gates' memory.
    pub gate: GateSettings,
    /// What one client, and all clients together, may take.
    pub limits: Limits,
    /// How container registries are followed.
    pub registries: Registries,
    /// Who takes the money.
    pub payment: Payment,
    /// Who may have an account.
    pub accounts: Accounts,
    /// Where the metrics are served, if they are.
    pub metrics: MetricsSettings,
    /// Who takes the mail; without it addresses are proved by the operator's word alone.
    pub mail: Option<Mail>,
}

/// `[tls]`: PEM files.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Whether clients are asked for a certificate, which may stand for an access token. Browsers that have one then ask their user.
    #[serde(default)]
    pub client_certificates: bool,
}

/// `[tokens]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Life of a ref token in seconds, 1 to 86400.
    pub ref_token_seconds: i64,
    /// Life of an access token for the authority's own API in seconds, 60 to 86400.
    pub access_token_seconds: i64,
    /// Life of a token for a container registry in seconds, 60 to 86400. Registries cannot take one back.
    pub registry_token_seconds: i64,
    /// A refresh token that is not used for so many days ends, 1 to 730.
    pub refresh_token_days: i64,
    /// How far clocks may differ, in seconds, 0 to 300.
    pub leeway_seconds: i64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            ref_token_seconds: 3600,
            access_token_seconds: 3600,
            registry_token_seconds: 300,
            refresh_token_days: 90,
            leeway_seconds: 5,
        }
    }
}

/// `[gate]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct GateSettings {
    /// Memory for small objects, for each repo, in bytes.
    pub cache_bytes: u64,
    /// Verified tokens that are remembered.
    pub cached_tokens: usize,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, cached_tokens: 10_000 }
    }
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Time for a request's head to arrive, in seconds.
    pub header_seconds: u64,
    /// How long an idle connection is kept, in seconds.
    pub idle_seconds: u64,
    /// Time for a page or an API call, its body included, in seconds.
    pub request_seconds: u64,
    /// Connections at the same time; fewer when the operating system allows fewer open files.
    pub connections: usize,
    /// Time for running requests to finish after SIGTERM, in seconds.
    pub shutdown_seconds: u64,
    /// Sign-ins, sign-ups and password changes that one address, and one account, may try in a minute; and as many looks at the codes of
    /// devices.
    pub sign_in_per_minute: u32,
    /// Calls of the token endpoint that one address may make in a minute.
    pub token_per_minute: u32,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_seconds: 10,
            idle_seconds: 75,
            request_seconds: 30,
            connections: 4096,
            shutdown_seconds: 10,
            sign_in_per_minute: 20,
            token_per_minute: 120,
            trusted_proxies: Vec::new(),
        }
    }
}

/// `[registries]`.
#[derive(Clone, Debug)]
pub struct Registries {
    /// How often each is looked at, in seconds, 1 to 86400.
    pub look_seconds: u64,
    /// Certificate authorities that are trusted beside the system's.
    pub roots: Vec<Certificate>,
}

/// `[registries]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegistriesSection {
    look_seconds: u64,
    certificates: Option<PathBuf>,
}

impl Default for RegistriesSection {
    fn default() -> Self {
        Self { look_seconds: 300, certificates: None }
    }
}

impl RegistriesSection {
    fn check(self, folder: &Path) -> Result<Registries, ConfigError> {
        within("registries.look_seconds", self.look_seconds, 1, 86_400)?;
        let read = |path: PathBuf| {
            let wrong = |what: String| {
                let next = "name a PEM file with the certificates of the registries' authorities";
                value("registries.certificates", format!("{}: {what}", path.display()), next)
            };
            let pem = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            if roots.is_empty() { Err(wrong("there is no certificate in it".to_owned())) } else { Ok(roots) }
        };
        let roots = self.certificates.map(|path| read(folder.join(path))).transpose()?.unwrap_or_default();
        Ok(Registries { look_seconds: self.look_seconds, roots })
    }
}

/// `[payment]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Payment {
    /// Which provider takes the money.
    pub provider: ProviderName,
}

/// The payment providers of this build.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderName {
    /// The built-in provider that takes no real money.
    #[default]
    Sandbox,
}

/// `[accounts]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Accounts {
    /// Whether people make accounts themselves.
    pub sign_up: SignUpDoor,
}

/// Whether people make accounts themselves.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum SignUpDoor {
    /// Everybody, on the page `/sign-up`.
    #[default]
    Open,
    /// Nobody: `flatpass account add` makes accounts.
    Closed,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: Option<String>,
    listen: Option<String>,
    database: Option<String>,
    secret_key: Option<PathBuf>,
    state: Option<PathBuf>,
    name: Option<String>,
    /// Passwords in clear over a network are a decision, not an accident.
    #[serde(default)]
    allow_http: bool,
    tls: Option<Tls>,
    #[serde(default)]
    tokens: Tokens,
    #[serde(default)]
    gate: GateSettings,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    registries: RegistriesSection,
    #[serde(default)]
    payment: Payment,
    #[serde(default)]
    accounts: Accounts,
    #[serde(default)]
    metrics: MetricsSettings,
    mail: Option<MailSection>,
}

/// What is wrong with a configuration. Each message names the key and the next step.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file was named and none stands in the usual places.
    #[error(
        "there is no configuration; run `flatpass init`, or name one with --config FILE (looked for {0})"
    )]
    NotFound(String),
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        cause: std::io::Error,
    },
    /// The file is not TOML, or has a key or a value that means nothing here.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        message: String,
    },
    /// One key has a value that cannot work.
    #[error("{key}: {problem}; {next}")]
    Value {
        /// The key, such as `tokens.ref_token_seconds`, or the environment variable.
        key: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        next: String,
    },
}

pub(crate) fn value(
    key: impl Into<String>,
    problem: impl Into<String>,
    next: impl Into<String>,
) -> ConfigError {
    ConfigError::Value { key: key.into(), problem: problem.into(), next: next.into() }
}

/// Environment variables that win over the file. [`Overrides::from_environment`] reads them; tests write them down.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `FLATPASS_URL`.
    pub url: Option<String>,
    /// `FLATPASS_LISTEN`.
    pub listen: Option<String>,
    /// `FLATPASS_DATABASE`.
    pub database: Option<String>,
}

impl Overrides {
    /// What the environment says now; empty variables count as absent.
    pub fn from_environment() -> Self {
        let read = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            url: read("FLATPASS_URL"),
            listen: read("FLATPASS_LISTEN"),
            database: read("FLATPASS_DATABASE"),
        }
    }
}

impl Config {
    /// The file that is used when `named` is `None`: `$FLATPASS_CONFIG`, `./flatpass.toml`, `/etc/flatpass/flatpass.toml`.
    ///
    /// # Errors
    /// [`ConfigError::NotFound`] when there is none of them.
    pub fn find(named: Option<&Path>) -> Result<PathBuf, ConfigError> {
        if let Some(path) = named {
            return Ok(path.to_owned());
        }
        if let Some(path) = std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let usual = ["flatpass.toml", "/etc/flatpass/flatpass.toml"];
        usual
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .ok_or_else(|| ConfigError::NotFound(format!("${CONFIG_VARIABLE}, {}", usual.join(", "))))
    }

    /// Reads the file and the overrides and checks all of it.
    ///
    /// # Errors
    /// Every [`ConfigError`] but `NotFound`.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder)
            .map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        Self::parse(&text, path, &folder, overrides)
    }

    /// Checks the text of a file at `path`, whose relative paths are taken from `folder`.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] and [`ConfigError::Value`].
    pub fn parse(text: &str, path: &Path, folder: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let picked = |over: &Option<String>, variable: &str, own: Option<String>, key: &str| match over {
            Some(text) => (variable.to_owned(), Some(text.clone())),
            None => (key.to_owned(), own),
        };
        let (url_key, url) = picked(&overrides.url, "FLATPASS_URL", file.url, "url");
        let url = base_url(&url_key, url.as_deref(), file.allow_http)?;
        let (listen_key, listen) = picked(&overrides.listen, "FLATPASS_LISTEN", file.listen, "listen");
        let listen = listen.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
        let listen = listen.parse().map_err(|_| {
            value(
                listen_key,
                format!("\"{listen}\" is not an address and port"),
                "write one such as \"127.0.0.1:8080\"",
            )
        })?;
        let (database_key, database) =
            picked(&overrides.database, "FLATPASS_DATABASE", file.database, "database");
        let database = database.unwrap_or_else(|| "sqlite:flatpass.db".to_owned());
        let database = absolute_database(&database_key, &database, folder)?;
        let state = match file.state {
            Some(state) => folder.join(state),
            // `absolute_database` has seen to it that there is a file in a folder.
            None => Path::new(database.trim_start_matches("sqlite:")).with_file_name("state"),
        };
        let secret_key = folder.join(file.secret_key.unwrap_or_else(|| PathBuf::from("secret.key")));
        let name = file.name.unwrap_or_else(|| "Flatpass".to_owned());
        if name.trim().is_empty() || name.chars().count() > 80 || name.chars().any(char::is_control) {
            return Err(value(
                "name",
                "it must have 1 to 80 characters on one line",
                "write the name of the shop",
            ));
        }
        let tls = file.tls.map(|tls| Tls {
            certificate: folder.join(tls.certificate),
            key: folder.join(tls.key),
            ..tls
        });
        if tls.is_some() && url.scheme() == "http" {
            return Err(value(
                "tls",
                "the public url begins with http://",
                "write url = \"https://…\", or remove [tls]",
            ));
        }
        check_numbers(&file.tokens, &file.gate, &file.limits)?;
        if let Some(listen) = file.metrics.listen.filter(|address| !address.ip().is_loopback()) {
            return Err(value(
                "metrics.listen",
                format!(
                    "{listen} can be reached from other machines, and the metrics ask nobody who they are"
                ),
                "write an address of this machine, such as \"127.0.0.1:9187\", and let a collector here or a proxy read it",
            ));
        }
        Ok(Self {
            url,
            listen,
            database,
            secret_key,
            state,
            name,
            tls,
            tokens: file.tokens,
            gate: file.gate,
            limits: file.limits,
            registries: file.registries.check(folder)?,
            payment: file.payment,
            accounts: file.accounts,
            metrics: file.metrics,
            mail: file.mail.map(|mail| mail.check(folder)).transpose()?,
        })
    }

    /// The issuer of tokens and OAuth answers: the public URL without a slash at the end.
    pub fn issuer(&self) -> String {
        self.origin()
    }

    /// The public URL without a slash at the end, which is also the pages' origin.
    pub fn origin(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// A URL below the base; `path` has no leading slash.
    pub fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.origin())
    }

    /// Host and port of the public URL: what this store calls itself as a registry.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The audience of the tokens of the repo `name`, which is its public URL.
    pub fn repo_url(&self, name: &str) -> String {
        format!("{}/repo/{name}", self.origin())
    }

    /// The URL of the repo `name` as flatpak takes it: for images in a registry with `oci+` before it.
    pub fn remote_url(&self, name: &str, is_oci: bool) -> String {
        let url = self.repo_url(name);
        if is_oci { format!("oci+{url}") } else { url }
    }

    /// The same with an access token in it. For images it is a part of the path: flatpak sends no password there.
    pub fn remote_url_with(&self, name: &str, is_oci: bool, secret: &Secret) -> String {
        if is_oci {
            return format!("oci+{}/i/{}/{name}", self.origin(), secret.expose());
        }
        with_secret(&self.repo_url(name), secret)
    }

    /// The name in a URL that would be a repo's public URL, whether there is such a repo or not.
    pub fn repo_name_in(&self, url: &str) -> Option<String> {
        let url = Url::parse(url).ok()?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let ours = plain && url.fragment().is_none() && url.origin() == self.url.origin();
        let name = url.path().strip_prefix("/repo/")?.trim_end_matches('/');
        (ours && !name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    }

    /// Whether signing up tells strangers whether an address has an account: without mail there is no way that does not.
    pub fn sign_up_tells(&self) -> bool {
        self.accounts.sign_up == SignUpDoor::Open && self.mail.is_none()
    }

    /// Whether browsers reach the pages over TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }
}

/// The URL with an access token as its password, as flatpak sends it.
pub(crate) fn with_secret(url: &str, secret: &Secret) -> String {
    url.replacen("://", &format!("://device:{}@", secret.expose()), 1)
}

fn base_url(key: &str, text: Option<&str>, allow_http: bool) -> Result<Url, ConfigError> {
    const NEXT: &str = "write the address that people type, such as \"https://shop.example/\"";
    let text = text.ok_or_else(|| value(key, "it is missing", NEXT))?;
    let url =
        Url::parse(text).map_err(|error| value(key, format!("\"{text}\" is not a URL ({error})"), NEXT))?;
    let wrong = |problem: &str| value(key, format!("\"{text}\" {problem}"), NEXT);
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user or a password in it"));
    }
    if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        return Err(wrong("has more than a host and a port; Flatpass needs the root of its host"));
    }
    if url.scheme() == "http" && !allow_http && !url.host().is_some_and(|host| is_loopback(&host)) {
        return Err(value(
            key,
            format!("\"{text}\" would send passwords and tokens unencrypted over the network"),
            "use https (with [tls] or a reverse proxy), or write allow_http = true on a network where nobody else is",
        ));
    }
    Ok(url)
}

/// Whether a host name means this machine: `localhost`, a name below it, or an address of the loopback interface.
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn absolute_database(key: &str, text: &str, folder: &Path) -> Result<String, ConfigError> {
    let path = text.strip_prefix("sqlite:").ok_or_else(|| {
        value(
            key,
            format!("\"{}\" is not an SQLite database", Redacted(text)),
            "write \"sqlite:flatpass.db\"",
        )
    })?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains('?') {
        return Err(value(key, "it names no file", "write \"sqlite:flatpass.db\""));
    }
    let path = folder.join(path);
    let path = path.to_str().ok_or_else(|| value(key, "the path is not UTF-8", "use another folder"))?;
    Ok(format!("sqlite:{path}"))
}

/// A database URL of another kind may hold a password: only its scheme is shown.
struct Redacted<'a>(&'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once(':') {
            Some((scheme, _)) => write!(out, "{scheme}:…"),
            None => out.write_str("…"),
        }
    }
}

fn within<T: PartialOrd + Copy + fmt::Display>(
    key: &str,
    got: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if got < least || got > most {
        return Err(value(key, format!("{got} is out of range"), format!("write {least} to {most}")));
    }
    Ok(())
}

fn check_numbers(tokens: &Tokens, gate: &GateSettings, limits: &Limits) -> Result<(), ConfigError> {
    within("tokens.ref_token_seconds", tokens.ref_token_seconds, 1, LONGEST_REF_TOKEN_SECONDS)?;
    within("tokens.access_token_seconds", tokens.access_token_seconds, 60, 86_400)?;
    within("tokens.registry_token_seconds", tokens.registry_token_seconds, 60, 86_400)?;
    within("tokens.refresh_token_days", tokens.refresh_token_days, 1, 730)?;
    within("tokens.leeway_seconds", tokens.leeway_seconds, 0, LONGEST_LEEWAY_SECONDS)?;
    within("gate.cache_bytes", gate.cache_bytes, 0, 1 << 40)?;
    within("gate.cached_tokens", gate.cached_tokens, 1, 10_000_000)?;
    within("limits.header_seconds", limits.header_seconds, 1, 600)?;
    within("limits.idle_seconds", limits.idle_seconds, 1, 3600)?;
    within("limits.request_seconds", limits.request_seconds, 1, 600)?;
    within("limits.connections", limits.connections, 1, 1_000_000)?;
    within("limits.shutdown_seconds", limits.shutdown_seconds, 0, 3600)?;
    within("limits.sign_in_per_minute", limits.sign_in_per_minute, 1, 1_000_000)?;
    within("limits.token_per_minute", limits.token_per_minute, 1, 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        parse_with(text, &Overrides::default())
    }

    fn parse_with(text: &str, overrides: &Overrides) -> Result<Config, String> {
        Config::parse(text, Path::new("flatpass.toml"), Path::new("/srv/shop"), overrides)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_with_only_the_url_has_everything_and_paths_stand_beside_the_file() {
        let config = parse("url = \"https://shop.example\"").unwrap();
        assert_eq!(config.database, "sqlite:/srv/shop/flatpass.db");
        assert_eq!(config.secret_key, Path::new("/srv/shop/secret.key"));
        assert_eq!(config.issuer(), "https://shop.example");
        assert_eq!(config.repo_url("apps"), "https://shop.example/repo/apps");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        let absolute = parse("url = \"https://shop.example\"\ndatabase = \"sqlite:/var/lib/x.db\"").unwrap();
        assert_eq!(absolute.database, "sqlite:/var/lib/x.db");
    }

    #[test]
    fn signing_up_tells_who_has_an_account_unless_there_is_mail_or_the_page_is_closed() {
        const URL: &str = "url = \"https://shop.example\"\n";
        let mail = "[mail]\nsmtp = \"smtp://127.0.0.1\"\nfrom = \"shop@example.org\"\n";
        let closed = "[accounts]\nsign_up = \"closed\"\n";
        let tells = |lines: &str| parse(&format!("{URL}{lines}")).unwrap().sign_up_tells();
        assert!(tells("") && tells("[accounts]\nsign_up = \"open\"\n"));
        assert!(!tells(mail) && !tells(closed));
        let told = parse(&format!("{URL}[accounts]\nsign_up = \"no\"\n")).unwrap_err();
        assert!(told.contains("unknown variant `no`"), "{told}");
    }

    #[test]
    fn the_environment_wins_over_the_file_and_is_named_when_it_is_wrong() {
        let over = Overrides { url: Some("https://other.example/".into()), ..Overrides::default() };
        assert_eq!(
            parse_with("url = \"https://shop.example\"", &over).unwrap().issuer(),
            "https://other.example"
        );
        let over = Overrides { listen: Some("8080".into()), ..Overrides::default() };
        let told = parse_with("url = \"https://shop.example\"", &over).unwrap_err();
        assert!(told.starts_with("FLATPASS_LISTEN: ") && told.contains("127.0.0.1:8080"), "{told}");
    }

    #[test]
    fn every_mistake_is_told_with_its_key_and_the_next_step() {
        for (text, expected) in [
            ("", "url: it is missing; write the address"),
            ("url = \"shop.example\"", "url: \"shop.example\" is not a URL"),
            ("url = \"ftp://shop.example\"", "neither http nor https"),
            ("url = \"https://a:b@shop.example\"", "has a user or a password"),
            ("url = \"https://shop.example/store/\"", "needs the root of its host"),
            ("url = \"http://shop.example\"", "allow_http = true"),
            ("url = \"http://127.0.0.1.evil.example\"", "allow_http = true"),
            ("url = \"https://s.example\"\nlisten = \"x\"", "listen: \"x\" is not an address and port"),
            (
                "url = \"https://s.example\"\ndatabase = \"postgres://u:geheim@h/d\"",
                "database: \"postgres:…\"",
            ),
            ("url = \"https://s.example\"\nnmae = \"x\"", "unknown field `nmae`"),
            ("url = \"https://s.example\"\n[limits]\nconections = 1", "unknown field `conections`"),
            (
                "url = \"https://s.example\"\n[tokens]\nref_token_seconds = 0",
                "tokens.ref_token_seconds: 0 is out of range; write 1 to 86400",
            ),
            (
                "url = \"https://s.example\"\n[metrics]\nlisten = \"0.0.0.0:9187\"",
                "metrics.listen: 0.0.0.0:9187 can be reached from other machines",
            ),
            ("url = \"https://s.example\"\n[payment]\nprovider = \"paypal\"", "unknown variant `paypal`"),
            (
                "url = \"http://localhost\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"",
                "tls: the public url begins with http://",
            ),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(expected), "{text:?} told {told:?}");
            assert!(!told.contains("geheim"));
        }
        assert!(parse("url = \"http://127.0.0.1:8080/\"").is_ok());
        assert!(parse("url = \"http://shop.lan/\"\nallow_http = true").is_ok());
    }
}
