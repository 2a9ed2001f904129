"""How long an index per person takes for a repo of 3,000 refs with a list of apps: made the first time, for a second person, and when it is
there. Prints one line. See ./bench and crates/gate/examples/index_per_person.rs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stage.repo import Repo, WIKI, app_ref, arch

ROOT = Path(__file__).resolve().parent.parent
REFS = 3000
TEAMS = 10
GOAL = 50  # milliseconds, once warm


def large_repo(path: Path) -> Repo:
    """Refs that all have one app's commit, and a list of apps that names them all."""
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
    words = "Some words about what it is good for. " * 50
    components = []
    for name in names:
        (icons / f"{name}.png").write_bytes(b"\x89PNG" + name.encode())
        components.append(
            f'  <component type="desktop-application"><id>{name}</id><name>{name}</name><summary>{name}</summary>'
            f'<description><p>{words}</p></description><icon type="cached" height="64" width="64">{name}.png</icon>'
            f'<bundle type="flatpak">app/{name}/{machine}/stable</bundle></component>\n'
        )
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<components version="0.8" origin="flatpak">\n'
    (tree / "appstream.xml").write_text(text + "".join(components) + "</components>\n")
    repo.ostree("commit", "-b", f"appstream2/{machine}", "-s", "list", f"--tree=dir={tree}")
    repo.update("--no-update-appstream")
    return repo


def main() -> int:
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--release", "--package", "flatpass-gate", "--example", "index_per_person"],
        cwd=ROOT, check=True,
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    folder = Path(tempfile.mkdtemp(prefix="flatpass-bench-"))
    try:
        repo = large_repo(folder / "repo")
        people = ["com.acme.team1", "com.acme.team2", "com.acme"]
        measured = json.loads(
            subprocess.run(
                [target / "release" / "examples" / "index_per_person", repo.path, *people],
                check=True, capture_output=True, text=True,
            ).stdout
        )
    finally:
        shutil.rmtree(folder)
    first, second, nearly_all = measured["cold_ms"]
    slowest = measured["warm_slowest_ms"]
    print(
        f"index per person, {REFS} refs: first {first:.0f} ms, another person with a tenth {second:.0f} ms, with all {nearly_all:.0f} ms; "
        f"once made {measured['warm_median_ms']:.4f} ms, at most {slowest:.2f} ms "
        f"(goal {GOAL} ms: {'met' if slowest <= GOAL else 'missed'})"
    )
    return 0 if slowest <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
