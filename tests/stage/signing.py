"""An OpenPGP key that signs a repository, made with GnuPG in a folder of its own."""

import subprocess
from pathlib import Path


class Key:
    """`secret` is the exported secret key, which the store gets; `public` is what clients get."""

    def __init__(self, folder: Path, name: str = "Stage repository", algorithm: str = "ed25519"):
        self.home = folder / "gnupg"
        self.home.mkdir(parents=True, mode=0o700)
        self.secret = folder / "secret.gpg"
        self.public = folder / "public.gpg"
        self._gpg("--quick-gen-key", "--passphrase", "", name, algorithm, "sign", "never")
        listed = self._gpg("--list-keys", "--with-colons").decode()
        self.id = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        self.secret.touch(mode=0o600)
        self.secret.write_bytes(self._gpg("--export-secret-keys", self.id))
        self.public.write_bytes(self._gpg("--export", self.id))

    def end(self) -> None:
        """Ends the agent, which GnuPG started for this folder and flatpak's tools talk to."""
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=True, capture_output=True)

    @property
    def options(self) -> list[str]:
        """What `flatpak build-*` takes to sign with it."""
        return [f"--gpg-sign={self.id}", f"--gpg-homedir={self.home}"]

    def _gpg(self, *argv: str) -> bytes:
        done = subprocess.run(["gpg", "--batch", "--homedir", self.home, *argv], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout
