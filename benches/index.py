"""How long the index of a registry of a thousand images takes: seen for the first time, after a start, after one push, and asked for.

The registry is Debian's docker-registry on the client's core. See `./bench index`."""

import hashlib
import json
import random
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from listing import words
from load import QUIET, Sample, wrk
from measure import ROOT, begin, machine, version
from servers import Server
from stage.images import MANIFEST
from stage.registry import Notified, Registry
from stage.store import Store

IMAGES = 1000
QUERY = "index/static?label%3Aorg.flatpak.ref%3Aexists=1&architecture=amd64&os=linux&tag=latest"
CONFIG = "application/vnd.oci.image.config.v1+json"


class Pushed:
    """A registry with images that have the labels that Flatpak's have: metadata, and an icon and a description for lists of apps."""

    def __init__(self, folder: Path):
        self.registry = Registry(folder / "registry")
        self.registry.more = {
            "log": {"level": "error", "accesslog": {"disabled": True}}, "catalog": {"maxentries": 10 * IMAGES},
            "storage": {"cache": {"blobdescriptor": "inmemory"}},
        }
        self.chance = random.Random(1)

    def fill(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.push, range(IMAGES), [1] * IMAGES))

    def push(self, number: int, made: int) -> None:
        name, app = f"shop/app{number}", f"org.bench.App{number}"
        described = f"<component type='desktop-application'><id>{app}</id><name>{app}</name>{words(self.chance, 250)}</component>"
        labels = {
            "org.flatpak.ref": f"app/{app}/x86_64/stable", "org.flatpak.timestamp": str(1_800_000_000 + made),
            "org.flatpak.metadata": f"[Application]\nname={app}\nruntime=org.bench.Platform/x86_64/stable\n" + words(self.chance, 60),
            "org.flatpak.download-size": "1000", "org.flatpak.installed-size": "2000", "org.flatpak.commit": hashlib.sha256(app.encode()).hexdigest(),
            "org.freedesktop.appstream.appdata": described,
        }
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": labels}}).encode()
        blobs = [self._blob(name, config), self._blob(name, b"one layer for all")]
        descriptors = [{"mediaType": kind, **blob} for kind, blob in zip([CONFIG, "application/vnd.oci.image.layer.v1.tar+gzip"], blobs)]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptors[0], "layers": descriptors[1:]}
        self._send("PUT", f"v2/{name}/manifests/latest", json.dumps(manifest).encode(), MANIFEST)

    def _blob(self, name: str, content: bytes) -> dict:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        where = self._send("POST", f"v2/{name}/blobs/uploads/", b"", "text/plain")
        self._send("PUT", f"{where}&digest={digest}", content, "application/octet-stream")
        return {"digest": digest, "size": len(content)}

    def _send(self, method: str, where: str, body: bytes, kind: str) -> str:
        url = where if where.startswith("http") else self.registry.url + where
        request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.headers.get("Location", "")


def until(what: str, is_so, patience: float = 120) -> float:
    """Waits; gives the seconds that it took."""
    begin = time.monotonic()
    while not is_so():
        if time.monotonic() - begin > patience:
            raise RuntimeError(f"not within {patience} seconds: {what}")
        time.sleep(0.002)
    return time.monotonic() - begin


def is_quiet(server: Server) -> bool:
    """Whether it does hardly anything for a second."""
    before = server.cpu_seconds()
    time.sleep(1)
    return server.cpu_seconds() - before < 0.02


def fetch(url: str, headers: dict[str, str] | None = None) -> bytes:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=20) as answer:
            return answer.read()
    except OSError:
        return b""


def measure(rounds: int, seconds: int, programs: Path, folder: Path) -> list[str]:
    pushed, store = Pushed(folder), Store(folder / "store", programs)
    added = store.json("repo", "add", "apps", pushed.registry.source("shop"), "--access", "none", "--webhook")
    webhook = added["webhook"]
    pushed.registry.notified = Notified(webhook["url"], {"Authorization": f"Bearer {webhook['secret']}"})
    serve = [str(programs / "flatpass"), "--config", str(store.config), "serve"]
    ours = Server("Flatpass", serve, store.port)
    url = ours.url + QUERY
    try:
        pushed.registry.start()
        pushed.fill()
        begin = time.monotonic()
        ours.start("index/static", 503)
        until("the registry is seen", lambda: len(json.loads(fetch(url) or b"{}").get("Results", [])) == IMAGES)
        first, first_cpu = time.monotonic() - begin, ours.cpu_seconds()
        peak = ours.peak_megabytes()
        time.sleep(2)  # what was seen is kept for the next start
        ours.stop()
        again = ours.start(QUERY.replace("static", "dynamic"), 200)
        until("it is seen again", lambda: is_quiet(ours))
        changes, costs = [], []
        for number in range(rounds):
            before, begin = ours.cpu_seconds(), time.monotonic()
            pushed.push(7, 10 + number)
            shown = f'"{1_800_000_010 + number}"'.encode()
            until("a push is seen", lambda: shown in fetch(url))
            changes.append(time.monotonic() - begin)
            time.sleep(1)
            costs.append(ours.cpu_seconds() - before)
        # Each asks something that nobody asked before.
        made = []
        for number in range(20 * rounds):
            begin = time.monotonic()
            body = fetch(f"{url}&os=never{number}")
            made.append(time.monotonic() - begin)
        plain, packed = len(body), len(fetch(url, {"Accept-Encoding": "gzip"}))
        samples: dict[str, list[Sample]] = {"gzip": [], "plain": [], "not changed (304)": []}
        with urllib.request.urlopen(url) as answer:
            tag = answer.headers["ETag"]
        for _ in range(rounds):
            for what, headers in [("gzip", {"Accept-Encoding": "gzip"}), ("plain", {}), ("not changed (304)", {"If-None-Match": tag})]:
                samples[what].append(wrk(ours, url, seconds, 16, headers))
                if samples[what][-1].failed:
                    raise RuntimeError(f"{what}: the index was refused")
        rss, anonymous = ours.rss_megabytes(), ours.private_megabytes()
    finally:
        ours.stop()
        pushed.registry.stop()
    lines = [
        f"| the index of {IMAGES:,} images in {IMAGES:,} repositories ({plain / 1e6:.1f} MB, {packed / 1e6:.2f} MB with gzip) | |",
        "|---|---|",
        f"| from the first start until it is served, docker-registry's own time included | {first:.1f} s, {first_cpu:.1f} s of CPU time |",
        f"| from a later start until it is served | {again * 1000:.0f} ms |",
        f"| from a push of one image until it is in the index (webhook), push included | {median(changes) * 1000:.0f} ms, {median(costs) * 1000:.0f} ms of CPU time |",
        f"| an answer to a question that nobody asked before, client's time included | {median(made) * 1000:.0f} ms |",
        *(f"| an answer that is there, {what} | {median(s.per_second for s in runs):,.0f} a second, {median(s.bytes_per_second for s in runs) / 1e6:,.0f} MB/s |"
          for what, runs in samples.items()),
        f"| memory: most while the registry was seen for the first time; after the load; of it no file's | {peak:.0f}; {rss:.0f}; {anonymous:.0f} MB |",
    ]
    every = [sample for runs in samples.values() for sample in runs]
    if disturbed := sum(sample.others > QUIET for sample in every):
        lines += ["", f"**The machine was not quiet**: {disturbed} of {len(every)} runs were disturbed by other programs."]
    commit = version("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    return [*lines, "", f"Measured on {machine()}; {version('docker-registry', '--version')}; commit {commit}; {rounds} rounds of {seconds} s each."]


if __name__ == "__main__":
    begin("./bench index", __doc__, measure, rounds=5, seconds=3, table="index")
