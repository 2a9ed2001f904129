"""Runs the real `flatpass` on a scratch folder: init, repo add, app price, serve."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

START = 20  # seconds that an unoptimized build may take to start on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that nobody vouches for, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    return certificate, key


class Store:
    """A store in `folder`, served on a free port of 127.0.0.1."""

    def __init__(self, folder: Path, programs: Path, name: str = "Stage shop", host: str = "http://127.0.0.1"):
        self.folder = folder
        self.port = free_port()
        self.url = f"{host}:{self.port}/"
        self.trusts = None  # the certificates that `get` trusts; the system's if not set
        self.config = folder / "flatpass.toml"
        self._flatpass = programs / "flatpass"
        self._server: subprocess.Popen | None = None
        self._log = folder.with_name(folder.name + ".log")
        subprocess.run(
            [self._flatpass, "init", folder, "--url", self.url, "--listen", f"127.0.0.1:{self.port}", "--name", name],
            check=True, capture_output=True, text=True,
        )

    def repo_url(self, repo: str) -> str:
        return f"{self.url}repo/{repo}"

    def command(self, *argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess:
        """One `flatpass` command on this store."""
        done = subprocess.run(
            [self._flatpass, "--config", self.config, *argv], input=stdin, text=True, capture_output=True,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"flatpass {' '.join(argv)} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def json(self, *argv: str):
        return json.loads(self.command("--json", *argv).stdout)

    def set(self, table: str, **values: int | str) -> None:
        """Adds settings to the configuration file. Restart to take them up."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        text = self.config.read_text()
        header = f"[{table}]"
        if header in text.splitlines():
            kept = []
            for line in text.splitlines():
                if line.split("=")[0].strip() in values:
                    continue
                kept.append(line)
                if line == header:
                    kept.extend(lines)
            text = "\n".join(kept) + "\n"
        else:
            text += "\n" + "\n".join([header, *lines]) + "\n"
        self.config.write_text(text)

    def start(self) -> None:
        assert self._server is None, "it runs already"
        with open(self._log, "ab") as log:
            self._server = subprocess.Popen(
                [self._flatpass, "--config", self.config, "serve"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self._server.poll() is not None:
                raise AssertionError(f"flatpass serve ended at once:\n{self.log()}")
            try:
                urllib.request.urlopen(self.url + "healthz", timeout=2, context=self.trusts).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise AssertionError(f"flatpass serve does not answer:\n{self.log()}")

    def stop(self) -> None:
        """As a service manager stops it."""
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(timeout=15)
            self._server = None

    def kill(self) -> None:
        """As a power cut stops it."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(timeout=15)
            self._server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def settle(self) -> None:
        """Waits as long as a running server may take to notice what a command changed."""
        time.sleep(1.2)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        """A request to the store as some other program makes it: status, headers (lower case), body."""
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.trusts) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, {k.lower(): v for k, v in refused.headers.items()}, refused.read()


def programs() -> Path:
    """Where the built programs are: `$FLATPASS_PROGRAMS`, else the workspace's debug build."""
    return Path(os.environ.get("FLATPASS_PROGRAMS") or Path(__file__).resolve().parents[2] / "target" / "debug")
