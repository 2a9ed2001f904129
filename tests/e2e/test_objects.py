"""The policy `objects`: the stock client installs and updates at once, and nobody else gets a file of a paid app."""

import json
import subprocess

import pytest

from conftest import World
from stage.repo import FREE, MUST_BE_BOUGHT, PAID, app_ref
from stage.store import programs


@pytest.fixture
def checked_world(tmp_path, template):
    world = World(tmp_path, template, policy="objects")
    world.start()
    yield world
    world.end()


def files_of(repo, app: str) -> set[str]:
    """The paths of the files of an app's newest version."""
    lines = repo.ostree("ls", "--recursive", "--checksum", app_ref(app)).splitlines()
    names = {line.split()[4] for line in lines if not line.startswith("d")}
    return {f"objects/{name[:2]}/{name[2:]}.filez" for name in names}


def test_a_buyer_installs_and_updates_at_once_and_an_outsider_gets_no_file(checked_world):
    world = checked_world
    ann = world.customer("ann")
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    for version in range(2, 5):
        world.repo.export_app(PAID, f"paid, version {version}", token_type=MUST_BE_BOUGHT, locale=True)
        world.repo.name_authenticator(world.store.url)
        # No wait in between: the gate must know the new objects when they are asked for.
        ann.flatpak("update", "--noninteractive")
        assert f"paid, version {version}" in ann.run("flatpak", "run", PAID).stdout
    bob = world.person("bob")
    bob.flatpak("install", "--noninteractive", "shop", FREE)
    paid = files_of(world.repo, PAID) - files_of(world.repo, FREE)
    assert paid
    for path in paid:
        assert world.store.get(f"repo/apps/{path}")[0] == 401, path
    for path in files_of(world.repo, FREE):
        status, headers, _ = world.store.get(f"repo/apps/{path}")
        assert (status, headers["cache-control"]) == (200, "public, max-age=31536000, immutable"), path


def test_the_index_of_a_large_repo_is_small_and_follows(tmp_path):
    program = programs() / "examples" / "object_index"
    made = run(program, "make", tmp_path / "repo", "20000")
    assert made["objects"] >= 20_000
    found = run(program, "measure", tmp_path / "repo")
    assert found["objects"] > 19_000 and found["bytes_per_object_beyond_prefix"] <= 12, found


def run(*argv) -> dict:
    return json.loads(subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout)
