"""Measures the object index on a generated repo, and what the policy `objects` costs a request. See `./bench objects`."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from load import QUIET, Sample, wrk
from measure import ROOT, machine, record, spread, verdict, version
from servers import SERVER_CORE, Server
from shop import EMAIL, Bench, post
from stage.repo import FREE, PAID, app_ref

APP = "org.test.App1"  # of the generated repo, where every app that is no third one must be bought
APP_REF = f"app/{APP}/x86_64/stable"


@dataclass
class Case:
    """One request under `refs` and under `objects`: the repos' names, the path in both, and who asks."""

    name: str
    repos: tuple[str, str]
    path: str
    ref: str | None = None
    refs: list[Sample] = field(default_factory=list)
    objects: list[Sample] = field(default_factory=list)

    def ratios(self) -> list[float]:
        return [mine.per_second / other.per_second for mine, other in zip(self.objects, self.refs, strict=True)]


def example(program: Path, *arguments: str) -> dict:
    """What the example prints; it has one core."""
    argv = ["taskset", "-c", SERVER_CORE, str(program), *arguments]
    return json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)


def root_of(repo: Path, ref: str, kind: str) -> str:
    """The path of a commit's root `dirtree` or `dirmeta`, as ostree lists it."""
    argv = ["ostree", f"--repo={repo}", "ls", "--checksum", "--dironly", ref]
    words = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    name = words[4 if kind == "dirtree" else 5]
    return f"objects/{name[:2]}/{name[2:]}.{kind}"


def prepare(folder: Path, programs: Path, generated: Path) -> tuple[Bench, list[Case]]:
    """A store with both repos under either policy, and an account that owns one app of each."""
    bench = Bench(folder, programs)
    bench.store.command("repo", "add", "sold", str(bench.repo.path), "--policy", "objects")
    bench.store.command("grant", EMAIL, "sold", PAID)
    subprocess.run(["ostree", f"--repo={generated}", "summary", "--update"], check=True)
    for policy in ("refs", "objects"):
        # No token type is open, so that an object of all apps is one of many that must be bought.
        bench.store.command("repo", "add", f"large-{policy}", str(generated), "--policy", policy, "--open-token-types", "9")
        bench.store.command("grant", EMAIL, f"large-{policy}", APP)
    both, large = ("apps", "sold"), ("large-refs", "large-objects")
    return bench, [
        Case("of a free app, no token", both, root_of(bench.repo.path, app_ref(FREE), "dirtree")),
        Case("of a paid app, valid token", both, root_of(bench.repo.path, app_ref(PAID), "dirtree"), app_ref(PAID)),
        Case("of every app of the large repo, valid token", large, root_of(generated, APP_REF, "dirmeta"), APP_REF),
    ]


def rates(cases: list[Case], bench: Bench, programs: Path, rounds: int, seconds: int) -> None:
    """Asks one server for the same object below either repo, in alternating order."""
    server = Server("Flatpass", [str(programs / "flatpass"), "--config", str(bench.store.config), "serve"], bench.store.port)
    server.start()
    try:
        access = bench.access_token()

        def run(case: Case, repo: str, seconds: int) -> Sample:
            headers = {}
            if case.ref:
                request = {"repo_url": bench.store.repo_url(repo), "refs": [{"ref": case.ref}]}
                answer = post(f"{bench.store.url}api/v1/ref-tokens", json.dumps(request).encode(), access)
                headers = {"Authorization": f"Bearer {answer['tokens'][0]['token']}"}
            sample = wrk(server, f"{bench.store.url}repo/{repo}/{case.path}", seconds, 16, headers)
            if sample.failed:
                raise RuntimeError(f"{case.name}: {sample.failed} answers of {repo} were refusals")
            return sample

        for case in cases:  # also waits until the indexes are made
            for repo in case.repos:
                while not bench.answers(repo, case.path):
                    pass
                run(case, repo, 1)
        for number in range(rounds):
            for case in cases:
                both = list(zip(case.repos, (case.refs, case.objects)))
                for repo, samples in both if number % 2 else reversed(both):
                    samples.append(run(case, repo, seconds))
                print(f"round {number + 1}: {case.name}: {case.ratios()[-1]:.2f}", file=sys.stderr)
    finally:
        server.stop()


def table(found: dict, made: dict, cases: list[Case], rounds: int, seconds: int) -> list[str]:
    def line(what: str, value: float, shown: str, goal: float | None = None, said: str = "") -> str:
        return f"| {what} | {shown} | {said and f'{said}: {verdict(value, goal, at_least=False)}' or '–'} |"

    beyond, lookup, build = (found[key] for key in ("bytes_per_object_beyond_prefix", "lookup_nanoseconds", "build_seconds"))
    lines = [
        f"| object index of {found['objects']:,} objects of {made['apps']:,} apps in two versions, on one core | | goal |",
        "|---|---|---|",
        line("mapped bytes for each object beyond its checksum prefix", beyond, f"{beyond:.1f}", 12, "≤ 12"),
        line("one lookup, in random order", lookup, f"{lookup:.0f} ns", 300, "< 300 ns"),
        line("made from nothing", build, f"{build:.1f} s", 60, "< 60 s"),
        line("one new commit is served after", 0, f"{found['follow_seconds']:.2f} s"),
        line("ready after a restart", 0, f"{found['restart_seconds']:.2f} s"),
        line("memory (RSS) of the program that made it", 0, f"{found['rss_megabytes']:.0f} MB"),
        "",
        "| object | `refs` | `objects` | ratio, minimum / median | goal | CPU time a request, `refs` / `objects` |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        both = (case.refs, case.objects)
        rate = [f"{median(sample.per_second for sample in samples):,.0f}/s" for samples in both]
        micros = " / ".join(f"{median(sample.cpu_micros for sample in samples):.1f} µs" for samples in both)
        goal = verdict(median(case.ratios()), 0.9)
        lines.append(f"| {case.name} | {rate[0]} | {rate[1]} | {spread(case.ratios(), '.2f')} | ≥ 0.9: {goal} | {micros} |")
    samples = [sample for case in cases for sample in case.refs + case.objects]
    if disturbed := sum(sample.others > QUIET for sample in samples):
        lines += ["", f"**The machine was not quiet**: {disturbed} of {len(samples)} runs were disturbed by other programs."]
    commit = version("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    return [*lines, "", f"Measured on {machine()}; commit {commit}; {rounds} rounds of {seconds} s each."]


def main() -> None:
    options = argparse.ArgumentParser(prog="./bench objects", description=__doc__)
    options.add_argument("--objects", type=int, default=1_000_000, help="objects of the generated repo (default one million)")
    options.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    options.add_argument("--seconds", type=int, default=4, help="seconds of each run (default 4)")
    options.add_argument("--record", action="store_true", help="write the tables into docs/src/reference/benchmarks.md")
    chosen = options.parse_args()
    programs = Path(os.environ.get("FLATPASS_PROGRAMS") or ROOT / "target" / "release")
    program = programs / "examples" / "object_index"
    with tempfile.TemporaryDirectory(prefix="flatpass-bench-") as name:
        folder = Path(name)
        generated = folder / "generated"
        made = example(program, "make", str(generated), str(chosen.objects))
        found = example(program, "measure", str(generated))
        print(found, file=sys.stderr)
        bench, cases = prepare(folder, programs, generated)
        rates(cases, bench, programs, chosen.rounds, chosen.seconds)
    lines = table(found, made, cases, chosen.rounds, chosen.seconds)
    print("\n".join(lines))
    if chosen.record:
        record(lines, "objects")


if __name__ == "__main__":
    main()
