"""A peer as an office or a school has it: in a place of its own, and with an account that may carry apps on."""

import json
import subprocess
import time
from pathlib import Path

from stage.networks import Place
from stage.peer import Peer
from stage.store import START, Store, programs

PORT = 8480  # the usual one


class Office(Peer):
    """A peer of the repo `apps` that fills itself with the account of a robot; `place` is where it is, if not here."""

    def __init__(self, folder: Path, store: Store, place: Place | None = None):
        self.folder = folder
        self.port = PORT
        self._enter = place.enter if place else []
        self._flatpass = programs() / "flatpass"
        self._server: subprocess.Popen | None = None
        self._log = folder.with_name(folder.name + ".log")
        robot = folder.with_name(folder.name + ".toml")
        store.command("robot", "add", folder.name)
        store.command("grant", f"robot/{folder.name}", "apps", "*", "--verbs", "list,download,upgrade,export")
        store.command("robot", "secret", folder.name, "--out", str(robot))
        store.settle()
        listen = f"{'0.0.0.0' if place else '127.0.0.1'}:{PORT}"
        self.command("init", "--store", store.url, "--repo", "apps", "--credentials", robot, "--listen", listen)

    def command(self, verb: str, *argv, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess:
        line = [*self._enter, self._flatpass, "--json", "peer", *verb.split(), "--dir", self.folder, *argv]
        done = subprocess.run([str(word) for word in line], text=True, capture_output=True, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"flatpass peer {verb} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def status(self) -> dict:
        return json.loads(self.command("status").stdout)

    def has(self, ref: str) -> bool:
        return any(one["ref"] == ref for one in self.status()["commits"])

    def start(self) -> None:
        assert self._server is None, "it runs already"
        with open(self._log, "ab") as log:
            self._server = subprocess.Popen(
                [*self._enter, self._flatpass, "peer", "serve", "--dir", self.folder],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + START
        ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/healthz', timeout=2).read()"
        while time.monotonic() < deadline:
            if self._server.poll() is not None:
                raise AssertionError(f"flatpass peer serve ended at once:\n{self.log()}")
            if subprocess.run([*self._enter, "/usr/bin/python3", "-c", ask], capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"flatpass peer serve does not answer:\n{self.log()}")
