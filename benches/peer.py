"""Measures `flatpass peer` against nginx on files of 300 KB, and its memory beside a cache of 50 GB. See `./bench peer`."""

import sys
from pathlib import Path
from statistics import median

from load import QUIET
from measure import ROOT, Case, begin, machine, run, spread, verdict, version
from servers import Server, nginx
from shop import Bench
from stage.peer import Peer
from stage.repo import FREE, PAID
from stage.store import free_port

# A cache of 50 GB, as far as names and sizes go: the files are sparse and take no room.
FILES, FILE_BYTES = 100_000, 512 * 1024


def fill(repo: Path) -> None:
    for number in range(FILES):
        name = f"{number:02x}".rjust(2, "0")[-2:] + f"{number:062x}"
        path = repo / "objects" / name[:2] / f"{name[2:]}.filez"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(FILE_BYTES)


def measure(rounds: int, seconds: int, programs: Path, folder: Path) -> list[str]:
    bench = Bench(folder, programs)
    bench.store.command("robot", "add", "office")
    bench.store.command("grant", "robot/office", "apps", "*", "--verbs", "download,upgrade,export")
    credentials = folder / "office.toml"
    bench.store.command("robot", "secret", "office", "--out", str(credentials))
    bench.store.start()
    try:
        peer = Peer(folder / "peer", programs, bench.store, credentials, "--max-size", "60G")
        peer.command("mirror", FREE, PAID)
    finally:
        # From here on it is alone, as in a train.
        bench.store.stop()
    fill(peer.folder / "repo")
    serve = [str(programs / "flatpass"), "peer", "serve", "--dir", str(peer.folder)]
    ours = Server("flatpass peer", serve, peer.port)
    theirs = nginx(folder / "nginx", bench.repo.path, free_port(), nopush=True)
    case = Case("300 KB object", bench.middle, in_bytes=True, goal=0.9)
    try:
        begun = ours.start() * 1000
        theirs.start()
        idle = ours.rss_megabytes()
        for server in (ours, theirs):
            run(case, server, 1, "")
        for number in range(rounds):
            both = [(ours, case.ours), (theirs, case.theirs)]
            for server, samples in both if number % 2 else reversed(both):
                samples.append(run(case, server, seconds, ""))
            print(f"round {number + 1}: {case.ratios()[-1]:.2f}, others {case.ours[-1].others:.2f}", file=sys.stderr)
        loaded = ours.peak_megabytes()
    finally:
        ours.stop()
        theirs.stop()
    ratio = median(case.ratios())
    lines = [
        "| what | flatpass peer | nginx | goal |",
        "|---|---|---|---|",
        f"| 300 KB object, ratio minimum / median {spread(case.ratios(), '.2f')} | {case.shown(case.ours)} | {case.shown(case.theirs)} "
        f"| ≥ 0.9: {verdict(ratio, 0.9)} |",
        f"| memory (RSS) at the start, and at most under load, with {FILES * FILE_BYTES / 1e9:.0f} GB in {FILES:,} files | {idle:.1f} and "
        f"{loaded:.1f} MB | | < 40 MB: {verdict(loaded, 40, at_least=False)} |",
        f"| start to first answer | {begun:.0f} ms | | – |",
    ]
    disturbed = sum(sample.others > QUIET for sample in case.ours + case.theirs)
    if disturbed:
        lines += ["", f"**The machine was not quiet**: {disturbed} of {2 * rounds} runs were disturbed by other programs."]
    commit = version("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    return [*lines, "", f"Measured on {machine()}; {version('nginx', '-v').removeprefix('nginx version: ')}; commit {commit}; {rounds} rounds of {seconds} s each."]


if __name__ == "__main__":
    begin("./bench peer", __doc__, measure, rounds=7, seconds=4, table="peer")
