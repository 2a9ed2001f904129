"""A private repo over the bridge: stock Flatpak, with no secret in any configuration file."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from stage.passage import Passage
from stage.person import Person
from stage.repo import FREE, MUST_BE_BOUGHT, PAID, app_ref, company_repo, WIKI
from stage.signing import Key
from stage.store import Store, programs
from test_libflatpak import through_libflatpak

from conftest import World


class Bridge:
    """`flatpass-authenticator bridge`, as the person's session runs it."""

    def __init__(self, person: Person):
        self.person = person
        self.log = person.home / "bridge.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["flatpass-authenticator", "--verbose", "bridge"], env=person.env, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )
        for _ in range(200):
            if status(person)["listener"] == "ours":
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=15) == 0


def status(person: Person) -> dict:
    return json.loads(person.run("flatpass-authenticator", "bridge", "status", "--json").stdout)


@pytest.fixture
def bridges():
    running: list[Bridge] = []
    yield running
    for bridge in running:
        if bridge.process.poll() is None:
            bridge.end()


def member(world: World, name: str, verbs: str = "list", app: str = "*") -> Person:
    person = world.person(name, remote=None)
    world.store.command("account", "add", person.email, stdin=person.password + "\n")
    world.store.command("grant", person.email, "apps", app, "--verbs", verbs)
    world.store.settle()
    person.has_account = True
    person.browser_will("buy")
    return person


def add_remote(person: Person, url: str, *options: str, check: bool = True):
    return person.run(
        "flatpass-authenticator", "remote-add", "--user", "--bridge", "--no-gpg-verify", *options, url, "shop", check=check
    )


def secrets_of(person: Person) -> tuple[Path, str]:
    """Where the sign-in is kept, and the secret in it."""
    (record,) = (person.home / ".local/state/flatpass").glob("authority-*.json")
    return record, json.loads(record.read_text())["place"]["refresh_token"]


def files_with(folder: Path, pattern: bytes) -> list[Path]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and re.search(pattern, path.read_bytes()):
            found.append(path)
    return found


def test_a_member_uses_a_private_repo_and_no_secret_stands_in_any_configuration(private_world, bridges):
    world = private_world
    world.repo.export_app(FREE, "free as can be", described=True)
    world.repo.name_authenticator(world.store.url)
    world.store.settle()
    ann = member(world, "ann")
    added = add_remote(ann, world.store.repo_url("apps"))
    assert "systemctl --user enable --now flatpass-bridge.socket" in added.stdout
    assert any("sign" in line for line in ann.pages_seen())

    # Nobody has started the bridge yet.
    refused = ann.flatpak("remote-ls", "shop", check=False)
    assert refused.returncode != 0 and "org.test" not in refused.stdout
    bridges.append(Bridge(ann))
    listed = ann.flatpak("remote-ls", "--columns=application", "shop").stdout
    assert PAID in listed and FREE in listed
    # flatpak 1.14 prints it all and then aborts, with any remote; so its exit code says nothing.
    assert f"Export {FREE}" in ann.flatpak("remote-info", "shop", FREE, check=False).stdout
    ann.flatpak("update", "--appstream", "shop")
    assert FREE in ann.flatpak("search", "--columns=application", "stage").stdout

    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + bridges[0].log.read_text() + world.store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout

    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    world.store.settle()
    ann.pages_seen()
    ann.flatpak("update", "--noninteractive")
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    assert ann.pages_seen() == []
    # A commit that is named is asked for without a ref token first, and 401 makes Flatpak get one.
    old = world.repo.ostree("rev-parse", f"{app_ref(PAID)}^").strip()
    ann.flatpak("update", "--noninteractive", f"--commit={old}", PAID)
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout

    place, secret = secrets_of(ann)
    assert files_with(ann.home, re.escape(secret).encode()) == [place]
    assert place.stat().st_mode & 0o077 == 0
    assert files_with(ann.home, rb"eyJ[A-Za-z0-9_-]{20,}\.") == [], "a token is on the disk"
    config = (ann.home / ".local/share/flatpak/repo/config").read_text()
    assert re.search(r"url=http://127\.0\.0\.1:\d+/[A-Za-z0-9_-]{43}\n", config) and "@" not in config
    assert world.store.url.rstrip("/") + "/repo" not in config


def test_whoever_lost_access_or_never_had_it_gets_no_list_and_a_next_step(private_world, bridges):
    world = private_world
    eve = world.person("eve", remote=None)
    world.store.command("account", "add", eve.email, stdin=eve.password + "\n")
    eve.has_account = True
    eve.browser_will("buy")
    refused = add_remote(eve, world.store.repo_url("apps"), check=False)
    assert refused.returncode == 1 and "org.test" not in refused.stdout
    absent = add_remote(eve, world.store.repo_url("absent"), check=False)
    said = [refused.stdout.splitlines()[-1], absent.stdout.splitlines()[-1].replace("absent", "apps")]
    assert said[0] == said[1], said
    assert status(eve)["remotes"] == []

    ann = member(world, "ann")
    add_remote(ann, world.store.repo_url("apps"))
    bridges.append(Bridge(ann))
    assert PAID in ann.flatpak("remote-ls", "shop").stdout
    world.store.command("revoke", ann.email, "apps", "*")
    world.store.settle()
    refused = ann.flatpak("remote-ls", "shop", check=False)
    assert refused.returncode != 0 and "401" in refused.stdout and PAID not in refused.stdout, refused.stdout

    bob = member(world, "bob")
    add_remote(bob, world.store.repo_url("apps"))
    bridges.append(Bridge(bob))
    assert PAID in bob.flatpak("remote-ls", "shop").stdout
    # The bridge may keep a token for a minute; the gate refuses it at once.
    bob.run("flatpass-authenticator", "logout", world.store.url)
    world.store.settle()
    refused = bob.flatpak("remote-ls", "shop", check=False)
    assert refused.returncode != 0 and "401" in refused.stdout, refused.stdout
    assert f"flatpass-authenticator login {world.store.url}" in bridges[-1].log.read_text()


def test_another_user_of_the_computer_gets_nothing_from_the_address_in_the_configuration(private_world, bridges):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    world = private_world
    ann = member(world, "ann")
    add_remote(ann, world.store.repo_url("apps"))
    bridges.append(Bridge(ann))
    url = status(ann)["remotes"][0]["address"] + "/summary"
    fetch = ("/usr/bin/python3", "-c", f"import urllib.request; print(len(urllib.request.urlopen('{url}').read()))")
    assert int(ann.run(*fetch).stdout) > 100
    refused = ann.run("setpriv", "--reuid=65534", "--clear-groups", *fetch, check=False)
    assert refused.returncode != 0 and "Error" in refused.stdout
    ann.run("flatpass-authenticator", "remote-remove", "--user", "shop")
    assert status(ann)["remotes"] == []
    assert ann.run(*fetch, check=False).returncode != 0


def test_a_system_installation_and_a_private_bus(private_world, bridges):
    """As root: `flatpak --system` pulls as the user who runs it, and `run` brings bridge and authenticator along."""
    world = private_world
    ann = member(world, "ann", verbs="list,download,upgrade")
    added = ann.run(
        "flatpass-authenticator", "remote-add", "--system", "--bridge", "--no-gpg-verify", world.store.repo_url("apps"), "shop"
    )
    assert "Other users of this computer" in added.stdout
    bridge = Bridge(ann)
    bridges.append(bridge)
    assert PAID in ann.run("flatpak", "--system", "remote-ls", "shop").stdout
    ann.run("flatpak", "--system", "install", "-y", "--noninteractive", "shop", PAID)
    assert PAID in ann.run("flatpak", "--system", "list").stdout
    bridge.end()

    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    world.store.settle()
    lonely = {**ann.env, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
    done = subprocess.run(
        ["flatpass-authenticator", "run", "--", "flatpak", "--system", "update", "-y", "--noninteractive"],
        env=lonely, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
    )
    assert done.returncode == 0, done.stdout
    shown = ann.run("flatpak", "--system", "info", "--show-commit", PAID).stdout.strip()
    assert shown == world.repo.commit(app_ref(PAID))


def test_libflatpak_installs_and_updates_over_the_bridge(private_world, bridges):
    world = private_world
    ann = member(world, "ann", verbs="list,download,upgrade")
    add_remote(ann, world.store.repo_url("apps"))
    bridges.append(Bridge(ann))
    result = through_libflatpak(ann, "install", "shop", app_ref(FREE))
    assert result["ok"], result
    result = through_libflatpak(ann, "install", "shop", app_ref(PAID))
    assert result == {"ok": True, "events": []}, (result, ann.session_log())
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout


def test_a_signed_repo_is_verified_over_the_bridge(tmp_path, bridges):
    key = Key(tmp_path / "key")
    try:
        repo = company_repo(tmp_path / "repo", key)
        store = Store(tmp_path / "store", programs())
        repo.name_authenticator(store.url)
        store.command("repo", "add", "internal", str(repo.path), "--policy", "private", "--signing-key", str(key.secret))
        ann = Person(tmp_path / "people", "ann", programs())
        try:
            store.command("account", "add", ann.email, stdin=ann.password + "\n")
            store.command("grant", ann.email, "internal", "*")
            store.start()
            ann.has_account = True
            ann.browser_will("buy")
            url = store.repo_url("internal")
            ann.run("flatpass-authenticator", "remote-add", "--user", "--bridge", f"--gpg-import={key.public}", url, "acme")
            bridges.append(Bridge(ann))
            config = (ann.home / ".local/share/flatpak/repo/config").read_text()
            assert "gpg-verify=true" in config and "gpg-verify-summary=true" in config, config
            ann.flatpak("install", "-y", "acme", WIKI)
            assert "the wiki, version 1" in ann.run("flatpak", "run", WIKI).stdout
        finally:
            ann.leave()
            store.kill()
    finally:
        key.end()


def test_what_flatpak_asks_for_over_the_bridge(tmp_path, template, bridges):
    """Each kind of request carries the right one of the two tokens, the store sees Flatpak's own headers, and static deltas pass."""
    mirror = Passage()
    world = World(tmp_path, template, policy="private", mirror=mirror.url + "repo/apps")
    mirror.lead_to(world.store.port)
    world.start()
    try:
        world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True, ballast=20_000)
        world.repo.name_authenticator(world.store.url)
        world.repo.update("--generate-static-deltas")
        world.store.settle()
        ann = member(world, "ann", verbs="list,download,upgrade")
        add_remote(ann, mirror.url + "repo/apps", f"--store={world.store.url}")
        bridges.append(Bridge(ann))
        mirror.heads.clear()
        ann.flatpak("install", "-y", "--noninteractive", "shop", PAID)
        assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
        tokens: dict[str, set[str]] = {"index": set(), "paid": set(), "open": set()}
        for head in mirror.heads:
            path = head.split(" ")[1]
            assert path.startswith("/repo/apps/") and status(ann)["remotes"][0]["address"].rsplit("/", 1)[1] not in head
            (token,) = re.findall(r"(?im)^authorization: Bearer (\S+)\r?$", head)
            (ref,) = re.findall(r"(?im)^flatpak-ref: (\S+)\r?$", head) or [""]
            tokens["index" if "/summar" in path else "paid" if PAID in ref else "open"].add(token)
            assert re.search(r"(?im)^user-agent: (libostree/|Flatpak )", head), head
            assert not re.search(r"(?im)^(cookie|x-forwarded|via):", head), head
        assert len(tokens["index"]) == 1 and tokens["open"] == tokens["index"]
        assert len(tokens["paid"]) == 1 and not tokens["index"] & tokens["paid"], "a pull brings its own token"
        assert any(path.endswith("/superblock") for path in mirror.paths())
    finally:
        world.end()
        mirror.close()
