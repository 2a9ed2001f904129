"""Runs Debian's docker-registry on 127.0.0.1: for everybody, with passwords, or with the tokens of a realm."""

import base64
import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from stage.authority import Authority
from stage.store import START, free_port, self_signed

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


@dataclass
class Token:
    """A registry that trusts the tokens of a realm."""

    realm: str
    service: str
    issuer: str
    certificates: Path

    def settings(self) -> dict:
        return {"token": {"realm": self.realm, "service": self.service, "issuer": self.issuer,
                          "rootcertbundle": str(self.certificates)}}


@dataclass
class Htpasswd:
    """A registry that knows its own accounts, by HTTP Basic."""

    users: dict[str, str]

    def settings(self, folder: Path) -> dict:
        lines = []
        for user, password in self.users.items():
            made = subprocess.run(["htpasswd", "-niBC", "4", user], input=password, check=True, capture_output=True, text=True)
            lines.append(made.stdout.strip())
        file = folder / "htpasswd"
        file.write_text("\n".join(lines) + "\n")
        return {"htpasswd": {"realm": "stage", "path": str(file)}}


@dataclass
class Notified:
    """Who is told of changes: a URL, and the headers that go along."""

    url: str
    headers: dict[str, str]

    def settings(self) -> dict:
        headers = {name: [value] for name, value in self.headers.items()}
        return {"endpoints": [{"name": "stage", "url": self.url, "headers": headers, "timeout": "5s", "threshold": 10,
                               "backoff": "200ms"}]}


class Registry:
    """A registry in `folder` on a free port. `auth` is a Token, an Htpasswd or nothing; with `tls` it has a certificate that nobody
    vouches for, or that an authority does; `certificate` is what who trusts it trusts. Change the attributes before `start`, or `restart`."""

    def __init__(self, folder: Path, auth: Token | Htpasswd | None = None, notified: Notified | None = None,
                 tls: bool | Authority = False):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.auth = auth
        self.notified = notified
        self.certificate, self._own = None, (None, None)
        if isinstance(tls, Authority):
            self.certificate, self._own = tls.certificate, tls.vouch_for("registry")
        elif tls:
            self._own = self_signed(folder)
            self.certificate = self._own[0]
        self.more: dict = {}  # put over the settings, one level deep
        self._process: subprocess.Popen | None = None
        self._log = folder / "registry.log"

    @property
    def host(self) -> str:
        """Host and port, as image names have them."""
        return f"{'localhost' if self.certificate else '127.0.0.1'}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self.host}/"

    def source(self, namespace: str = "") -> str:
        """What `flatpass repo add` calls it."""
        return f"oci{'' if self.certificate else '+http'}://{self.host}" + (f"/{namespace}" if namespace else "")

    def settings(self) -> dict:
        settings = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "storage")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"127.0.0.1:{self.port}", "secret": "stage"},
        }
        if self.certificate:
            settings["http"]["tls"] = {"certificate": str(self._own[0]), "key": str(self._own[1])}
        if isinstance(self.auth, Token):
            settings["auth"] = self.auth.settings()
        elif isinstance(self.auth, Htpasswd):
            settings["auth"] = self.auth.settings(self.folder)
        if self.notified:
            settings["notifications"] = self.notified.settings()
        for key, value in self.more.items():
            settings[key] = {**settings.get(key, {}), **value}
        return settings

    def start(self) -> "Registry":
        assert self._process is None, "it runs already"
        config = self.folder / "config.yml"
        config.write_text(json.dumps(self.settings(), indent=1))  # JSON is YAML
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "OTEL_TRACES_EXPORTER": "none"}
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", config], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env
            )
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"docker-registry ended at once:\n{self.log()}")
            try:
                self.request("v2/")
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise AssertionError(f"docker-registry does not answer:\n{self.log()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()  # it waits for idle connections
                self._process.wait(timeout=5)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def request(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, token: str | None = None,
        basic: tuple[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """A request as some other program makes it: status, headers (lower case), body."""
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if basic:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        context = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, {k.lower(): v for k, v in refused.headers.items()}, refused.read()

    def manifest(self, repository: str, reference: str, **how) -> tuple[int, dict[str, str], bytes]:
        return self.request(f"v2/{repository}/manifests/{reference}", headers={"Accept": MANIFESTS}, **how)
