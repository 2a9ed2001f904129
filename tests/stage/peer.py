"""Runs the real `flatpass peer` on a scratch folder."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from stage.store import START, Store, free_port


class Peer:
    """A peer of the repo `apps` of a store, in `folder`, served on a free port of 127.0.0.1."""

    def __init__(self, folder: Path, programs: Path, store: Store, credentials: Path | None = None, *more: str):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/repo/apps"
        self._flatpass = programs / "flatpass"
        self._server: subprocess.Popen | None = None
        self._log = folder.with_name(folder.name + ".log")
        known = ["--credentials", credentials] if credentials else []
        self.command(
            "init", "--store", store.url, "--repo", "apps", "--listen", f"127.0.0.1:{self.port}", "--no-announce", *known, *more
        )

    def command(self, verb: str, *argv, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess:
        """One `flatpass peer` command on this peer; a verb may have two words."""
        line = [self._flatpass, "--json", "peer", *verb.split(), "--dir", self.folder, *argv]
        done = subprocess.run([str(word) for word in line], text=True, capture_output=True, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"flatpass peer {verb} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def json(self, verb: str, *argv):
        return json.loads(self.command(verb, *argv).stdout)

    def begin(self, verb: str, *argv: str) -> subprocess.Popen:
        """A command that goes on beside the test."""
        line = [str(self._flatpass), "peer", verb, "--dir", str(self.folder), *argv]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._server = subprocess.Popen(
                [self._flatpass, "peer", "serve", "--dir", self.folder], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self._server.poll() is not None:
                raise AssertionError(f"flatpass peer serve ended at once:\n{self.log()}")
            try:
                urllib.request.urlopen(f"{self.url}/summary.idx", timeout=2).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(f"the peer does not serve:\n{self.log()}")

    def stop(self) -> None:
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

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""
