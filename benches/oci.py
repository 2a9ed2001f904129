"""Measures the registry of image layouts against Debian's docker-registry with the same images and the same token server. See `./bench oci`."""

import base64
import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from load import QUIET, Sample, crowd, wrk
from measure import ROOT, Case, begin, machine, spread, verdict, version
from servers import Server
from shop import EMAIL, PASSWORD, export
from stage.images import MANIFEST, Layout, Login, repository
from stage.registry import Registry, Token
from stage.repo import MUST_BE_BOUGHT, PAID, Repo, app_ref
from stage.store import Store

CROWD, CROWD_SECONDS = 256, 10  # readers at once, for the memory that it takes
IMAGE = repository(app_ref(PAID), "shop")  # in docker-registry


class Both:
    """The same paid image in a layout and in docker-registry, and a store that gives the tokens for both."""

    def __init__(self, folder: Path, programs: Path):
        source = Repo(folder / "source")
        export(source, PAID, 300_000, f"--token-type={MUST_BE_BOUGHT}")
        self.layout = Layout(folder / "layout")
        self.digest = self.layout.add(source, app_ref(PAID))
        self.layer = self.layout.layer(app_ref(PAID))
        self.store = Store(folder / "store", programs)
        self.registry = Registry(folder / "registry")
        self.store.command("repo", "add", "apps", f"oci-layout:{self.layout.path}", "--policy", "refs")
        added = self.store.json("repo", "add", "images", self.registry.source("shop"), "--policy", "refs")
        settings = added["registry"]["settings"]
        certificates = folder / "flatpass.pem"
        certificates.write_text(self.store.command("repo", "certificates", "images").stdout)
        self.registry.auth = Token(settings["realm"], settings["service"], settings["issuer"], certificates)
        # As Debian's own configuration has it, but without a log of each request.
        self.registry.more = {
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"cache": {"blobdescriptor": "inmemory"}},
        }
        self.store.command("account", "add", EMAIL, stdin=PASSWORD + "\n")
        self.secrets = {}
        for repo in ("apps", "images"):
            self.store.command("grant", EMAIL, repo, PAID)
            self.secrets[repo] = self.store.json("access-token", "add", EMAIL, repo, "--name", "bench")["secret"]
        self._push()

    def _push(self) -> None:
        self.store.command("robot", "add", "ci")
        self.store.command("repo", "role", "images", "robot/ci", "publisher")
        robot = Login("ci", self.store.json("robot", "secret", "ci")["secret"])
        self.registry.start()
        self.store.start()
        try:
            self.layout.push(app_ref(PAID), self.registry.host, IMAGE, login=robot)
        finally:
            self.store.stop()
            self.registry.stop()

    def servers(self, programs: Path) -> tuple[Server, Server]:
        serve = [str(programs / "flatpass"), "--config", str(self.store.config), "serve"]
        ours = Server("Flatpass", serve, self.store.port, f"v2/apps/{repository(app_ref(PAID))}/")
        config = str(self.registry.folder / "config.yml")
        return ours, Server("docker-registry", ["docker-registry", "serve", config], self.registry.port, f"v2/{IMAGE}/")

    def token(self, server: Server, repo: str) -> str:
        """Asks for it as skopeo does, and for the registry once more until the store has seen what was pushed."""
        name = server.path.removeprefix("v2/").rstrip("/")
        query = urllib.parse.urlencode({"service": f"127.0.0.1:{server.port}", "scope": f"repository:{name}:pull"})
        basic = base64.b64encode(f"bench:{self.secrets[repo]}".encode()).decode()
        request = urllib.request.Request(f"{self.store.url}oauth/registry-token?{query}", headers={"Authorization": f"Basic {basic}"})
        for _ in range(100):
            try:
                with urllib.request.urlopen(request) as answer:
                    return json.load(answer)["token"]
            except urllib.error.HTTPError as refused:
                last = refused.read().decode()
            time.sleep(0.2)
        raise RuntimeError(f"no token for {name}: {last}")


class Watch(threading.Thread):
    """Looks now and then at how much of a server is resident of no file, so that the kernel could not drop it."""

    def __init__(self, server: Server):
        super().__init__(daemon=True)
        self.server, self.most, self.ended = server, 0.0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            self.most = max(self.most, self.server.private_megabytes())

    def end(self) -> float:
        self.ended.set()
        self.join()
        return self.most


@dataclass
class Memory:
    """The most megabytes that ours and theirs had resident under a load: all, and without the pages of the program's file."""

    load: str
    resident: tuple[float, float]
    private: tuple[float, float]


def most(watches: list[Watch], ours: Server, theirs: Server) -> tuple[tuple[float, float], tuple[float, float]]:
    private, their_private = (watch.end() for watch in watches)
    return (ours.peak_megabytes(), theirs.peak_megabytes()), (private, their_private)


def measure(rounds: int, seconds: int, programs: Path, folder: Path) -> list[str]:
    both = Both(folder, programs)
    ours, theirs = both.servers(programs)
    size = both.layout.blob(both.layer).stat().st_size
    cases = [
        Case("manifest by digest, valid token", f"manifests/{both.digest}", token=True, goal=20),
        Case("manifest by tag, valid token", "manifests/stable", token=True, goal=20),
        Case(f"blob of {size:,} B, valid token", f"blobs/{both.layer}", token=True, goal=10, in_bytes=True),
        Case("manifest, no token: refused with 401", f"manifests/{both.digest}", refused=True),
    ]
    try:
        for server in (theirs, ours):
            server.start("tags/list", 401 if server is theirs else 200)

        def headers_of(case: Case, server: Server) -> dict[str, str]:
            # A new token for each run: they live for minutes.
            token = {"Authorization": f"Bearer {both.token(server, 'apps' if server is ours else 'images')}"}
            return {"Accept": MANIFEST} | (token if case.token else {})

        def run(case: Case, server: Server, seconds: int) -> Sample:
            sample = wrk(server, server.url + case.path, seconds, 16, headers_of(case, server))
            if bool(sample.failed) != case.refused:
                raise RuntimeError(f"{case.name}: {server.name} gave {sample.failed} answers other than expected")
            return sample

        watches = [Watch(server) for server in (ours, theirs)]
        for watch in watches:
            watch.start()
        for server in (ours, theirs):  # warm both
            for case in cases:
                run(case, server, 1)
        for number in range(rounds):
            for case in cases:
                pair = [(ours, case.ours), (theirs, case.theirs)]
                for server, samples in pair if number % 2 else reversed(pair):
                    samples.append(run(case, server, seconds))
                print(f"round {number + 1}: {case.name}: {case.ratios()[-1]:.1f}", file=sys.stderr)
        memory = Memory("16 connections, one core", *most(watches, ours, theirs))
        watches = [Watch(server) for server in (ours, theirs)]
        for server, watch in zip((ours, theirs), watches):
            server.stop()
            server.start("tags/list", 401 if server is theirs else 200, core=None)
            watch.start()
            for case in cases[:3]:
                print(f"{CROWD} connections: {case.name}: {server.name}", file=sys.stderr)
                crowd(server.url + case.path, CROWD_SECONDS, CROWD, headers_of(case, server))
        crowded = Memory(f"{CROWD} connections, all cores", *most(watches, ours, theirs))
    finally:
        ours.stop()
        theirs.stop()
    return table(cases, [memory, crowded], rounds, seconds)


def table(cases: list[Case], memory: list[Memory], rounds: int, seconds: int) -> list[str]:
    lines = [
        "| request | Flatpass | docker-registry | ratio, minimum / median | goal | server's CPU time a request, Flatpass / docker-registry |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        goal = "–" if case.goal is None else f"≥ {case.goal}: {verdict(median(case.ratios()), case.goal)}"
        micros = " / ".join(f"{median(s.cpu_micros for s in samples):,.1f} µs" for samples in (case.ours, case.theirs))
        lines.append(
            f"| {case.name} | {case.shown(case.ours)} | {case.shown(case.theirs)} | {spread(case.ratios(), '.1f')} | {goal} | {micros} |"
        )
    for one in memory:
        for what, (mine, other) in (("most that was resident (RSS)", one.resident), ("of it without the program's pages", one.private)):
            goal = f"≤ 0.1: {verdict(mine / other, 0.1, at_least=False)}"
            lines.append(f"| memory, {one.load}: {what} | {mine:.1f} MB | {other:.1f} MB | {mine / other:.2f} | {goal} | |")
    samples = [sample for case in cases for sample in case.ours + case.theirs]
    if disturbed := sum(sample.others > QUIET for sample in samples):
        lines += ["", f"**The machine was not quiet**: {disturbed} of {len(samples)} runs were disturbed by other programs."]
    commit = version("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    return [*lines, "", f"Measured on {machine()}; {version('docker-registry', '--version')}; commit {commit}; {rounds} rounds of {seconds} s each."]


if __name__ == "__main__":
    begin("./bench oci", __doc__, measure, rounds=5, seconds=4, table="oci")
