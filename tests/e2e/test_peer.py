"""Peers, with stock Flatpak: what came in once is had again without the store, by whom the store lets have it, and by nobody else."""

import subprocess
import time

import pytest

from conftest import World
from stage.peer import Peer
from stage.person import Person
from stage.repo import FREE, PAID, RUNTIME, Repo, app_ref
from stage.signing import Key
from stage.store import Store, programs


@pytest.fixture
def place(tmp_path, template):
    """A store, and a peer of it that may carry everything on. The paid app says of itself that it is free, as the apps of flat-manager's
    stores do: the store guards it because it is sold, and Flatpak asks no authenticator."""
    world = World(tmp_path, template)
    world.repo.export_app(PAID, "paid, guarded", token_type=0, ballast=2000)
    world.repo.name_authenticator(world.store.url)
    world.start()
    world.store.command("robot", "add", "office")
    world.store.command("grant", "robot/office", "apps", "*", "--verbs", "download,upgrade,export")
    world.store.command("robot", "secret", "office", "--out", str(tmp_path / "office.toml"))
    world.store.settle()
    peer = Peer(tmp_path / "peer", programs(), world.store, tmp_path / "office.toml")
    yield world, peer
    peer.kill()
    world.end()


def at(peer: Peer, secret: str | None = None) -> str:
    return peer.url.replace("http://", f"http://device:{secret}@") if secret else peer.url


def test_what_one_installed_another_gets_when_the_store_is_gone(place, tmp_path):
    world, peer = place
    peer.start()
    ann = world.person("ann", remote=None)
    ann.flatpak("remote-add", "--no-gpg-verify", "site", at(peer))
    ann.flatpak("install", "--noninteractive", "site", FREE)
    licence = tmp_path / "mine.licence"
    world.store.command(
        "licence", "create", "--repo", "apps", "--app", PAID, "--site", "mine", "--devices", "1", "--until", "2099-01-01",
        "--out", str(licence),
    )
    peer.command("licence add", licence)
    secret = peer.json("licence device", "mine", "pit-1")["secret"]
    refused = peer.command("licence device", "mine", "pit-2", check=False)
    assert refused.returncode == 1 and "for 1 devices" in refused.stderr
    mirrored = peer.json("mirror", f"{PAID}//stable")["mirrored"]
    assert [one["ref"] for one in mirrored if one["ref"] == app_ref(PAID)], mirrored
    assert peer.json("status")["policy"] == "refs"

    world.store.kill()
    peer.stop()
    peer.start()
    bob = world.person("bob", remote=None)
    bob.flatpak("remote-add", "--no-gpg-verify", "site", at(peer))
    bob.flatpak("install", "--noninteractive", "site", FREE)
    assert "free as can be" in bob.run("flatpak", "run", FREE).stdout
    nobody = bob.flatpak("install", "--noninteractive", "site", PAID, check=False)
    assert nobody.returncode != 0 and "401" in nobody.stdout, nobody.stdout

    cat = world.person("cat", remote=None)
    cat.flatpak("remote-add", "--no-gpg-verify", "site", at(peer, secret))
    cat.flatpak("install", "--noninteractive", "site", PAID)
    assert "paid, guarded" in cat.run("flatpak", "run", PAID).stdout
    dan = world.person("dan", remote=None)
    dan.flatpak("remote-add", "--no-gpg-verify", "site", at(peer, "fps_invented"))
    nobody = dan.flatpak("install", "--noninteractive", "site", PAID, check=False)
    assert nobody.returncode != 0, nobody.stdout


def test_a_stick_of_create_usb_fills_a_peer(tmp_path):
    key = Key(tmp_path / "key")
    repo = Repo(tmp_path / "repo", key)
    repo.ostree("config", "set", "core.collection-id", "org.test.Shop")
    repo.export_runtime()
    repo.export_app(FREE, "free, from a stick")
    repo.update()
    store = Store(tmp_path / "store", programs())
    store.command("repo", "add", "apps", str(repo.path), "--policy", "refs")
    store.start()
    eve = Person(tmp_path / "people", "eve", programs())
    try:
        eve.flatpak("remote-add", f"--gpg-import={key.public}", "--collection-id=org.test.Shop", "shop", store.repo_url("apps"))
        eve.flatpak("install", "--noninteractive", "shop", FREE)
        stick = tmp_path / "stick"
        stick.mkdir()
        eve.flatpak("create-usb", str(stick), FREE)
        peer = Peer(tmp_path / "peer", programs(), store)
        peer.json("mirror", RUNTIME)
        taken = peer.json("import", stick)
        assert app_ref(FREE) in [one["ref"] for one in taken["taken"]], taken
        fsck = subprocess.run(["ostree", "fsck", f"--repo={peer.folder / 'repo'}"], capture_output=True, text=True)
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr
        store.kill()
        peer.start()
        try:
            eve.flatpak("uninstall", "--noninteractive", "--all")
            eve.flatpak("remote-add", f"--gpg-import={key.public}", "site", at(peer))
            eve.flatpak("install", "--noninteractive", "site", FREE)
            assert "free, from a stick" in eve.run("flatpak", "run", FREE).stdout
        finally:
            peer.kill()
    finally:
        eve.leave()
        store.kill()
        key.end()


def test_a_peer_that_is_killed_while_it_fills_holds_nothing_wrong_and_goes_on(place):
    world, peer = place
    patience = 0.0
    for _ in range(12):
        filling = peer.begin("mirror", f"{PAID}//stable", f"{FREE}//stable")
        time.sleep(patience)
        patience += 0.02
        filling.kill()
        filling.wait()
        fsck = subprocess.run(["ostree", "fsck", f"--repo={peer.folder / 'repo'}"], capture_output=True, text=True)
        # fsck marks a commit that is not whole yet, and would say so for ever.
        for mark in (peer.folder / "repo" / "state").glob("*.commitpartial"):
            mark.unlink()
        missing = "missing" in fsck.stderr or "Couldn't find" in fsck.stderr or "No such" in fsck.stderr
        assert fsck.returncode == 0 or missing, fsck.stdout + fsck.stderr
        assert "corrupted" not in fsck.stdout + fsck.stderr
    peer.command("mirror", f"{PAID}//stable", f"{FREE}//stable")
    fsck = subprocess.run(["ostree", "fsck", f"--repo={peer.folder / 'repo'}"], capture_output=True, text=True)
    assert fsck.returncode == 0, fsck.stdout + fsck.stderr
    world.store.kill()
    peer.start()
    bob = world.person("bob", remote=None)
    bob.flatpak("remote-add", "--no-gpg-verify", "site", at(peer))
    bob.flatpak("install", "--noninteractive", "--no-deps", "site", FREE)
