"""A certificate authority of the stage's own, which vouches for servers on localhost, and people who trust it.

Flatpak asks the system whom to trust, so it gets a file system of its own in which the system trusts this authority too.
"""

import subprocess
from pathlib import Path

SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")


class Authority:
    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate, self._key = folder / "authority.pem", folder / "authority.key"
        self._openssl("req", "-x509", "-subj", "/CN=Stage authority", "-addext", "basicConstraints=critical,CA:TRUE",
                      "-keyout", self._key, "-out", self.certificate)
        self.bundle = folder / "bundle.pem"  # what the system trusts, and this
        self.bundle.write_bytes((SYSTEM.read_bytes() if SYSTEM.exists() else b"") + self.certificate.read_bytes())

    def vouch_for(self, name: str) -> tuple[Path, Path]:
        """A certificate for localhost, and its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._openssl("req", "-x509", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost",
                      "-addext", "basicConstraints=critical,CA:FALSE", "-CA", self.certificate, "-CAkey", self._key,
                      "-keyout", key, "-out", certificate)
        return certificate, key

    def around(self, *argv: str) -> list[str]:
        """A command on a system that trusts this authority."""
        return ["bwrap", "--dev-bind", "/", "/", "--ro-bind", str(self.bundle), str(SYSTEM), *argv]

    @staticmethod
    def _openssl(command: str, *options) -> None:
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        subprocess.run(["openssl", command, *new, *options], check=True, capture_output=True)
