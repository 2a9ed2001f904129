//! What Flatpass signs with the operator's OpenPGP key is what GnuPG, which Flatpak's clients use, finds good.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use flatpass::openpgp::{OpenPgpKey, OpenPgpKeyError};
use flatpass_gate::IndexSigner as _;
use flatpass_token::UnixTime;
use tempfile::TempDir;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// GnuPG with a folder of its own.
struct Gpg(TempDir);

impl Gpg {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("fp-gpg-").tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn try_run(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new("gpg")
            .args(["--batch", "--pinentry-mode", "loopback", "--faked-system-time", "1800000000!"])
            .arg("--homedir")
            .arg(self.0.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("gnupg must be installed");
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into())
        }
    }

    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        self.try_run(arguments).unwrap()
    }

    fn make(&self, name: &str, algorithm: &str, passphrase: &str) -> String {
        self.run(&["--passphrase", passphrase, "--quick-gen-key", name, algorithm, "sign,cert", "never"]);
        let listed = String::from_utf8(self.run(&["--with-colons", "--list-keys", name])).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn export(&self, name: &str, options: &[&str]) -> Vec<u8> {
        self.run(&[&["--passphrase", ""], options, &["--export-secret-keys", name]].concat())
    }

    /// Whether GnuPG finds the signature good, as whose.
    fn verify(&self, signature: &[u8], message: &[u8]) -> Result<String, String> {
        fs::write(self.path("sig"), signature).unwrap();
        fs::write(self.path("message"), message).unwrap();
        let (signature, message) = (self.path("sig"), self.path("message"));
        let status = ["--status-fd", "1", "--verify", signature.to_str().unwrap(), message.to_str().unwrap()];
        let said = String::from_utf8(self.try_run(&status)?).unwrap();
        let valid = said.lines().find(|line| line.contains("VALIDSIG")).ok_or("no VALIDSIG")?;
        Ok(valid.split(' ').next_back().unwrap().to_owned())
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).output();
    }
}

#[test]
fn signatures_of_ed25519_and_rsa_keys_and_of_subkeys_are_good_to_gnupg() {
    let gpg = Gpg::new();
    let message = b"a summary, \r\n or any bytes \0\xff".as_slice();
    for (name, algorithm) in [("ed", "ed25519"), ("rsa", "rsa3072")] {
        let fingerprint = gpg.make(name, algorithm, "");
        for options in [&[][..], &["--armor"]] {
            let key = OpenPgpKey::read(&gpg.export(name, options)).unwrap();
            assert_eq!(key.fingerprint(), fingerprint);
            assert_eq!(format!("{key:?}"), format!("OpenPgpKey({fingerprint})"), "no secret is shown");
            let signature = key.sign(message, NOW).unwrap();
            assert_eq!(gpg.verify(&signature, message).as_ref(), Ok(&fingerprint));
            assert!(gpg.verify(&signature, b"another").is_err());
            assert!(key.made(&signature, message) && !key.made(&signature, b"another"));
            assert!(key.is_among(&gpg.run(&["--export"])) && key.is_among(&key.public_key()));
        }
    }
    // The newest subkey for signing signs, as GnuPG's own would.
    let fingerprint = gpg.make("sub", "ed25519", "");
    gpg.run(&["--passphrase", "", "--quick-add-key", &fingerprint, "ed25519", "sign", "never"]);
    let key = OpenPgpKey::read(&gpg.export("sub", &[])).unwrap();
    let signature = key.sign(message, NOW).unwrap();
    assert_eq!(gpg.verify(&signature, message), Ok(fingerprint));
    let own = gpg.run(&[
        "--passphrase",
        "",
        "--local-user",
        "sub",
        "--detach-sign",
        "--output",
        "-",
        "--yes",
        gpg.path("message").to_str().unwrap(),
    ]);
    fs::write(gpg.path("message"), message).unwrap();
    assert!(key.made(&own, &fs::read(gpg.path("message")).unwrap()));
    assert!(!OpenPgpKey::read(&gpg.export("ed", &[])).unwrap().made(&own, message));
    assert!(!key.is_among(&OpenPgpKey::read(&gpg.export("ed", &[])).unwrap().public_key()));
}

#[test]
fn what_cannot_sign_is_refused_when_it_is_given() {
    let gpg = Gpg::new();
    gpg.make("locked", "ed25519", "secret words");
    let locked = gpg.run(&["--passphrase", "secret words", "--export-secret-keys", "locked"]);
    assert!(matches!(OpenPgpKey::read(&locked), Err(OpenPgpKeyError::Passphrase)));
    gpg.make("open", "ed25519", "");
    let public = gpg.run(&["--export", "open"]);
    assert!(matches!(OpenPgpKey::read(&public), Err(OpenPgpKeyError::Unreadable(_))));
    let whole = gpg.export("open", &[]);
    for bytes in [&b""[..], b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", &[0xff; 64], &[0x95, 0xff, 0xff]] {
        assert!(OpenPgpKey::read(bytes).is_err());
    }
    for length in (0..whole.len()).step_by(7) {
        // Cut off anywhere it may be refused or, after its first parts, still be a key; it never breaks anything.
        let _ = OpenPgpKey::read(&whole[..length]);
    }
    // A key only for certification, whose subkey's secret half is elsewhere.
    gpg.run(&["--passphrase", "", "--quick-gen-key", "certifies", "ed25519", "cert", "never"]);
    assert!(matches!(OpenPgpKey::read(&gpg.export("certifies", &[])), Err(OpenPgpKeyError::CannotSign)));
}
