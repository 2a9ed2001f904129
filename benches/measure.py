"""Measures `flatpass serve` against nginx on the same repo, in alternating rounds, and writes the table. See ./bench."""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from load import QUIET, Sample, post_script, wrk
from servers import Server, nginx
from shop import Bench
from stage.store import free_port

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "src" / "reference" / "benchmarks.md"


@dataclass
class Case:
    """One line of the table. `refused` when the answers are to be 401; `goal` is the least ratio wanted."""

    name: str
    path: str
    token: bool = False
    refused: bool = False
    in_bytes: bool = False
    goal: float | None = None
    connections: int = 16
    ours: list[Sample] = field(default_factory=list)
    theirs: list[Sample] = field(default_factory=list)

    def rate(self, sample: Sample) -> float:
        return sample.bytes_per_second if self.in_bytes else sample.per_second

    def ratios(self) -> list[float]:
        return [self.rate(mine) / self.rate(other) for mine, other in zip(self.ours, self.theirs, strict=True)]

    def shown(self, samples: list[Sample]) -> str:
        middle = median(self.rate(sample) for sample in samples)
        if not self.in_bytes:
            return f"{middle:,.0f}/s"
        return f"{middle / 1e9:.2f} GB/s" if middle >= 1e9 else f"{middle / 1e6:,.0f} MB/s"


def run(case: Case, server: Server, seconds: int, token: str) -> Sample:
    headers = {"Authorization": f"Bearer {token}"} if case.token and server.name != "nginx" else {}
    sample = wrk(server, server.url + case.path, seconds, case.connections, headers)
    refused = case.refused and server.name != "nginx"
    if bool(sample.failed) != refused:
        raise RuntimeError(f"{case.name}: {server.name} gave {sample.failed} answers other than expected")
    return sample


def spread(values: list[float], form: str) -> str:
    return f"{min(values):{form}} / {median(values):{form}}"


def verdict(value: float, goal: float | None, at_least: bool = True) -> str:
    if goal is None:
        return "–"
    met = value >= goal if at_least else value <= goal
    return "met" if met else "**missed**"


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()).group(1)
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text()).group(1)) / (1 << 20)
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text()).group(1)
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}, {system}"


def version(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def starts(server: Server, rounds: int) -> list[float]:
    """Milliseconds from the command to its first answer; it is left running."""
    times = []
    for _ in range(rounds):
        server.stop()
        times.append(server.start() * 1000)
    return times


def measure(rounds: int, seconds: int, programs: Path, folder: Path) -> list[str]:
    bench = Bench(folder, programs)
    config = str(bench.store.config)
    ours = Server("Flatpass", [str(programs / "flatpass"), "--config", config, "serve"], bench.store.port)
    theirs = nginx(folder / "nginx", bench.repo.path, free_port(), nopush=True)
    cases = [
        Case(f"open small object ({bench.bytes(bench.small)} B)", bench.small),
        Case(f"gated commit ({bench.bytes(bench.commit)} B), valid token", bench.commit, token=True, goal=1.0),
        Case("gated commit, no token: refused with 401", bench.commit, refused=True),
        Case("300 KB object", bench.middle, in_bytes=True, goal=0.9),
        Case("20 MB object", bench.large, in_bytes=True, goal=0.9, connections=4),
    ]
    try:
        begun, their_begin = starts(ours, rounds), starts(theirs, rounds)
        idle = ours.rss_megabytes()
        access = bench.access_token()
        token = bench.ref_token(access)
        for server in (ours, theirs):  # warm both
            for case in cases:
                run(case, server, 1, token)
        for number in range(rounds):
            for case in cases:
                both = [(ours, case.ours), (theirs, case.theirs)]
                for server, samples in both if number % 2 else reversed(both):
                    samples.append(run(case, server, seconds, token))
                print(f"round {number + 1}: {case.name}: {case.ratios()[-1]:.2f}, others {samples[-1].others:.2f}", file=sys.stderr)
        issued = {}
        for refs in (1, 20):
            script = post_script(folder, f"tokens-{refs}", bench.ref_token_request(refs))
            url = f"{bench.store.url}api/v1/ref-tokens"
            headers = {"Authorization": f"Bearer {access}"}
            samples = [wrk(ours, url, seconds, 16, headers, script) for _ in range(rounds)]
            if any(sample.failed for sample in samples):
                raise RuntimeError("a request for tokens was refused")
            issued[refs] = samples
        loaded, their_loaded = ours.rss_megabytes(), theirs.rss_megabytes()
    finally:
        ours.stop()
        theirs.stop()
    return table(cases, issued, begun, their_begin, idle, loaded, their_loaded, rounds, seconds)


def table(cases, issued, begun, their_begin, idle, loaded, their_loaded, rounds, seconds) -> list[str]:
    lines = [
        "| request | Flatpass | nginx | ratio, minimum / median | goal | server's CPU time a request, Flatpass / nginx |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        ratio = median(case.ratios())
        goal = "–" if case.goal is None else f"≥ {case.goal}: {verdict(ratio, case.goal)}"
        micros = " / ".join(f"{median(s.cpu_micros for s in samples):,.1f} µs" for samples in (case.ours, case.theirs))
        lines.append(
            f"| {case.name} | {case.shown(case.ours)} | {case.shown(case.theirs)} | {spread(case.ratios(), '.2f')} | {goal} | {micros} |"
        )
    lines += ["", "| what | Flatpass, minimum / median | nginx | goal |", "|---|---|---|---|"]
    for refs, samples in issued.items():
        rates = [sample.per_second for sample in samples]
        what = "ref token" if refs == 1 else f"token for {refs} refs"
        lines.append(f"| requests for a {what} answered | {spread(rates, ',.0f')} per second | | – |")
    lines.append(
        f"| start to first answer | {spread(begun, '.0f')} ms | {spread(their_begin, '.0f')} ms "
        f"| < 100 ms: {verdict(median(begun), 100, at_least=False)} |"
    )
    lines.append(
        f"| memory (RSS) before and after the load | {idle:.1f} and {loaded:.1f} MB | {their_loaded:.1f} MB after "
        f"| < 40 MB: {verdict(loaded, 40, at_least=False)} |"
    )
    samples = [sample for case in cases for sample in case.ours + case.theirs]
    disturbed = sum(sample.others > QUIET for sample in samples)
    if disturbed:
        lines += ["", f"**The machine was not quiet**: {disturbed} of {len(samples)} runs were disturbed by other programs."]
    commit = version("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    lines += [
        "",
        f"Measured on {machine()}; {version('nginx', '-v').removeprefix('nginx version: ')}; {version('rustc', '--version')}; "
        f"commit {commit}; {rounds} rounds of {seconds} s each.",
    ]
    return lines


def record(lines: list[str], mark: str = "table") -> None:
    """Puts the table between its two marks in the manual."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, _, rest = TABLE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    TABLE.write_text("\n".join([before + begin, "", *lines, "", end + after]))


def begin(command: str, about: str, measure: Callable[[int, int, Path, Path], list[str]], rounds: int, seconds: int, table: str | None = None) -> None:
    """Reads the options, measures in a scratch folder, prints the table, and with `--record` writes it into the manual."""
    options = argparse.ArgumentParser(prog=command, description=about)
    options.add_argument("--rounds", type=int, default=rounds, help=f"alternating rounds (default {rounds})")
    options.add_argument("--seconds", type=int, default=seconds, help=f"seconds of each run (default {seconds})")
    options.add_argument("--record", action="store_true", help="write the table into docs/src/reference/benchmarks.md")
    chosen = options.parse_args()
    if (os.cpu_count() or 1) < 2:
        sys.exit("The server and the load generator need a core each; this machine has one.")
    programs = Path(os.environ.get("FLATPASS_PROGRAMS") or ROOT / "target" / "release")
    with tempfile.TemporaryDirectory(prefix="flatpass-bench-") as folder:
        lines = measure(chosen.rounds, chosen.seconds, programs, Path(folder))
    print("\n".join(lines))
    if chosen.record:
        record(lines, *([table] if table else []))


if __name__ == "__main__":
    begin("./bench", __doc__, measure, rounds=7, seconds=4)
