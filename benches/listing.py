"""How long an index per person takes for a repo of 3,000 refs with lists of apps, signed: made for people with other refs than anybody had
before, and when it is there. Prints a line for each kind of signing key. See ./bench and crates/server/examples/index_per_person.rs."""

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stage.repo import Repo, WIKI, app_ref, arch
from stage.signing import Key

ROOT = Path(__file__).resolve().parent.parent
REFS = 3000
TEAMS = 10
GOAL = 50  # milliseconds, once warm
KEYS = ["ed25519", "rsa3072"]


def words(chance: random.Random, count: int) -> str:
    """Text that packs about as well as descriptions of apps do."""
    letters = "etaoinshrdlucmfwypvbgk"
    vocabulary = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(1500)]
    return " ".join(chance.choices(vocabulary, k=count))


def large_repo(path: Path) -> Repo:
    """Refs that all have one app's commit, and lists of apps that name them all."""
    repo = Repo(path)
    repo.export_app(WIKI, "one for all", described=True)
    commit, machine = repo.commit(app_ref(WIKI)), arch()
    names = [f"com.acme.team{number % TEAMS}.App{number}" for number in range(REFS)]
    for name in names:
        head = path / "refs" / "heads" / "app" / name / machine / "stable"
        head.parent.mkdir(parents=True)
        head.write_text(commit + "\n")
    tree = path.with_name("appstream")
    icons = tree / "icons" / "64x64"
    icons.mkdir(parents=True)
    chance = random.Random(1)
    components = []
    for name in names:
        (icons / f"{name}.png").write_bytes(b"\x89PNG" + name.encode())
        components.append(
            f'  <component type="desktop-application"><id>{name}</id><name>{name}</name><summary>{words(chance, 8)}</summary>'
            f'<description><p>{words(chance, 300)}</p></description><icon type="cached" height="64" width="64">{name}.png</icon>'
            f'<bundle type="flatpak">app/{name}/{machine}/stable</bundle></component>\n'
        )
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<components version="0.8" origin="flatpak">\n'
    text = (text + "".join(components) + "</components>\n").encode()
    # As flatpak build-update-repo makes them: one packed, for old clients, and one that is not.
    for branch, name, content in [("appstream", "appstream.xml.gz", gzip.compress(text, mtime=0)), ("appstream2", "appstream.xml", text)]:
        (tree / name).write_bytes(content)
        repo.ostree("commit", "-b", f"{branch}/{machine}", "-s", "list", f"--tree=dir={tree}")
        (tree / name).unlink()
    repo.update("--no-update-appstream")
    return repo


def teams(numbers: list[int]) -> str:
    return ",".join(f"com.acme.team{number}" for number in numbers)


def measure(program: Path, repo: Repo, folder: Path, algorithm: str) -> bool:
    key = Key(folder, algorithm=algorithm)
    try:
        # The first reads what the operator made. After that all are people with refs that nobody had so: each with all but one
        # tenth, one with all, and each with one tenth.
        all_teams = list(range(TEAMS))
        many = [teams([team for team in all_teams if team != left]) for left in all_teams] + [teams(all_teams)]
        few = [teams([team]) for team in all_teams]
        told = subprocess.run(
            [program, repo.path, key.secret, teams([0, 1]), *many, *few], check=True, capture_output=True, text=True
        )
    finally:
        key.end()
    measured = json.loads(told.stdout)
    first, made = measured["cold_ms"][0], measured["cold_ms"][1:]
    many, few = made[: TEAMS + 1], made[TEAMS + 1 :]
    slowest = max(made)
    print(
        f"index per person, {REFS} refs, signed with {algorithm}: the first {first:.0f} ms, then new people with nearly all "
        f"{sorted(many)[len(many) // 2]:.0f} ms (all {many[-1]:.0f}, at most {max(many):.0f}), with a tenth {sorted(few)[len(few) // 2]:.0f} ms; "
        f"once made {measured['warm_median_ms']:.4f} ms, at most {measured['warm_slowest_ms']:.2f} ms "
        f"(goal {GOAL} ms: {'met' if slowest <= GOAL else 'missed'})"
    )
    return slowest <= GOAL


def main() -> int:
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--release", "--package", "flatpass", "--example", "index_per_person"],
        cwd=ROOT, check=True,
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    program = target / "release" / "examples" / "index_per_person"
    folder = Path(tempfile.mkdtemp(prefix="flatpass-bench-"))
    try:
        repo = large_repo(folder / "repo")
        met = [measure(program, repo, folder / algorithm, algorithm) for algorithm in KEYS]
    finally:
        shutil.rmtree(folder)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
