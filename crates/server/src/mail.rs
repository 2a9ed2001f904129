//! Mail to people: the link that proves an address. Sent over SMTP to the operator's server, and only if one is configured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::config::{ConfigError, is_loopback, value};

/// An answer of the mail server is waited for no longer than this.
const PATIENCE: Duration = Duration::from_secs(15);

/// `[mail]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailSection {
    smtp: String,
    from: String,
    password_file: Option<PathBuf>,
    certificate_authority: Option<PathBuf>,
}

/// `[mail]`: the server that takes this store's mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// `smtps://[user@]host[:port]` (TLS from the start, port 465) or `smtp://…` (STARTTLS, port 587; without TLS to this very
    /// machine alone, port 25).
    pub smtp: Url,
    /// Who the mail is from: `shop@example.org` or `The shop <shop@example.org>`.
    pub from: Mailbox,
    /// The user's password, one line.
    pub password_file: Option<PathBuf>,
    /// PEM certificates that are trusted besides the system's.
    pub certificate_authority: Option<PathBuf>,
}

impl MailSection {
    /// Checks it; relative paths are taken from `folder`.
    pub(crate) fn check(self, folder: &Path) -> Result<Mail, ConfigError> {
        const NEXT: &str = "write one such as \"smtps://user@mail.example.org\"";
        let smtp = Url::parse(&self.smtp)
            .map_err(|error| value("mail.smtp", format!("it is not a URL ({error})"), NEXT))?;
        let wrong = |problem: &str| value("mail.smtp", problem, NEXT);
        if !matches!(smtp.scheme(), "smtp" | "smtps") {
            return Err(wrong("it begins with neither smtp:// nor smtps://"));
        }
        if smtp.password().is_some() {
            return Err(value(
                "mail.smtp",
                "it has a password in it",
                "write it to a file and name that as mail.password_file",
            ));
        }
        let plain_path =
            matches!(smtp.path(), "" | "/") && smtp.query().is_none() && smtp.fragment().is_none();
        if smtp.host_str().is_none_or(str::is_empty) || !plain_path {
            return Err(wrong("it must have a host and perhaps a user and a port, and nothing else"));
        }
        if smtp.username().is_empty() != self.password_file.is_none() {
            return Err(value("mail.password_file", "user and password go together", "give both, or none"));
        }
        let from = self.from.parse().map_err(|_| {
            value(
                "mail.from",
                format!("\"{}\" is not an address", self.from),
                "write one such as \"shop@example.org\"",
            )
        })?;
        Ok(Mail {
            smtp,
            from,
            password_file: self.password_file.map(|path| folder.join(path)),
            certificate_authority: self.certificate_authority.map(|path| folder.join(path)),
        })
    }
}

/// Why a mail could not be sent. The cause is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    #[error("cannot read {0}: {1}")]
    File(PathBuf, std::io::Error),
    #[error("the address or the text cannot be put into a mail")]
    Content,
    #[error("the mail server: {0}")]
    Server(#[from] lettre::transport::smtp::Error),
}

fn read(path: &Path) -> Result<Zeroizing<String>, MailError> {
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|cause| MailError::File(path.to_owned(), cause))
}

impl Mail {
    /// Sends a text to one address. The password and the certificates are read each time, so that they can be changed.
    pub(crate) async fn send(&self, to: &str, subject: &str, text: String) -> Result<(), MailError> {
        let to: Address = to.parse().map_err(|_| MailError::Content)?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|_| MailError::Content)?;
        self.transport()?.send(message).await?;
        Ok(())
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
        let host = self.smtp.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let mut parameters = TlsParameters::builder(host.clone());
        if let Some(path) = &self.certificate_authority {
            parameters = parameters.add_root_certificate(Certificate::from_pem(read(path)?.as_bytes())?);
        }
        let here = self.smtp.host().is_some_and(|host| match host {
            // The URL parser takes hosts of schemes that it does not know as they stand.
            url::Host::Domain(name) => name.parse().map_or_else(
                |_| is_loopback(&url::Host::Domain(name)),
                |address: std::net::IpAddr| address.is_loopback(),
            ),
            other => is_loopback(&other),
        });
        let plain = here && self.certificate_authority.is_none();
        let (tls, port) = match (self.smtp.scheme(), plain) {
            ("smtps", _) => (Tls::Wrapper(parameters.build_rustls()?), 465),
            (_, true) => (Tls::None, 25),
            // Never without: a password and the link would be everybody's.
            (_, false) => (Tls::Required(parameters.build_rustls()?), 587),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .tls(tls)
            .port(self.smtp.port().unwrap_or(port))
            .timeout(Some(PATIENCE));
        if let Some(path) = &self.password_file {
            let user = percent_encoding::percent_decode_str(self.smtp.username()).decode_utf8_lossy();
            let password = read(path)?;
            builder =
                builder.credentials(Credentials::new(user.into_owned(), password.trim_end().to_owned()));
        }
        Ok(builder.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(smtp: &str, from: &str, password_file: Option<&str>) -> Result<Mail, String> {
        let section = MailSection {
            smtp: smtp.to_owned(),
            from: from.to_owned(),
            password_file: password_file.map(PathBuf::from),
            certificate_authority: None,
        };
        section.check(Path::new("/srv")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_send_mail_is_told_with_the_key() {
        let good =
            check("smtps://shop%40x@mail.example.org:2465", "A shop <shop@example.org>", Some("pw")).unwrap();
        assert_eq!(good.password_file.as_deref(), Some(Path::new("/srv/pw")));
        assert!(check("smtp://127.0.0.1:2525", "shop@example.org", None).is_ok());
        for (smtp, from, file, expected) in [
            ("mail.example.org", "a@b.c", None, "mail.smtp: it is not a URL"),
            ("https://mail.example.org", "a@b.c", None, "neither smtp:// nor smtps://"),
            ("smtps://u:geheim@mail.example.org", "a@b.c", Some("pw"), "mail.password_file"),
            ("smtps://mail.example.org/x", "a@b.c", None, "nothing else"),
            ("smtps://", "a@b.c", None, "mail.smtp"),
            ("smtps://u@mail.example.org", "a@b.c", None, "user and password go together"),
            ("smtps://mail.example.org", "a@b.c", Some("pw"), "user and password go together"),
            ("smtps://mail.example.org", "nobody", None, "mail.from"),
            ("smtps://mail.example.org", "a@b.c\r\nBcc: e@f.g", None, "mail.from"),
        ] {
            let told = check(smtp, from, file).unwrap_err();
            assert!(told.contains(expected) && !told.contains("geheim"), "{smtp}: {told}");
        }
    }
}
