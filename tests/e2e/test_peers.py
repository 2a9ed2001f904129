"""Peers with the real clients, on networks of their own: the store, a peer, and two people who reach each other only over the peer."""

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from stage import networks
from stage.networks import Place, Resident
from stage.office import Office
from stage.repo import FREE, MUST_BE_BOUGHT, PAID, Repo, app_ref
from stage.signing import Key
from stage.store import Store, programs

REASON = networks.reason_not_to()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "networks can be made")


class Classroom:
    """A store with a signed repo; a peer; two people on networks of their own. The store is on a third."""

    def __init__(self, folder: Path, policy: str = "objects"):
        self.folder = folder
        self.policy = policy
        self.key = Key(folder / "key")
        self.repo = Repo(folder / "repo", self.key)
        self.repo.export_runtime()
        self.repo.export_app(FREE, "free, version 1")
        self.repo.export_app(PAID, "paid, version 1", token_type=MUST_BE_BOUGHT, locale=True, ballast=3000)
        self.store = Store(folder / "store", programs())
        self.publish()
        self.store.command("repo", "add", "apps", str(self.repo.path), "--policy", policy)
        self.store.command("app", "price", "apps", PAID, "5.00", "EUR")
        self.store.start()
        self.places = {name: Place(self.store.port) for name in ("peer", "ann", "bob")}
        self.lan = {name: self.places["peer"].join(self.places[name])[0] for name in ("ann", "bob")}
        self.peer = Office(folder / "office", self.store, place=self.places["peer"])
        self.people: list[Resident] = []

    def publish(self) -> None:
        self.repo.name_authenticator(self.store.url)

    def person(self, name: str, entitled: bool = True) -> Resident:
        """Somebody with the store's remote, who is signed in."""
        person = Resident(self.places[name], self.folder / "people", name, programs())
        self.people.append(person)
        self.store.command("account", "add", person.email, stdin=person.password + "\n")
        if self.policy == "private":
            self.store.command("grant", person.email, "apps", "*", "--verbs", "list,download,upgrade")
        elif entitled:
            self.store.command("grant", person.email, "apps", PAID, "--verbs", "download,upgrade")
        self.store.settle()
        person.has_account = True
        person.browser_will("buy")
        url, signed = self.store.repo_url("apps"), f"--gpg-import={self.key.public}"
        if self.policy == "private":
            person.run("flatpass-authenticator", "remote-add", "--user", "--bridge", signed, url, "shop")
        else:
            person.flatpak("remote-add", signed, "shop", url)
            person.run("flatpass-authenticator", "login", self.store.url)
        return person

    def peer_url(self, name: str) -> str:
        """The peer, as that person reaches it."""
        return f"http://{self.lan[name]}:8480"

    def cut_off(self) -> None:
        """Nobody reaches the store any more."""
        for place in self.places.values():
            place.cut()

    def end(self) -> None:
        for person in self.people:
            person.leave()
        self.peer.kill()
        for place in self.places.values():
            place.end()
        self.store.kill()
        self.key.end()


@pytest.fixture
def classroom(tmp_path):
    room = Classroom(tmp_path)
    yield room
    room.end()


@pytest.fixture
def private_classroom(tmp_path):
    room = Classroom(tmp_path, policy="private")
    yield room
    room.end()


def config(person: Resident) -> str:
    return (person.home / ".local/share/flatpak/repo/config").read_text()


def says(person: Resident, app: str) -> str:
    return person.run("flatpak", "run", app).stdout


def peers(person: Resident, *argv: str, check: bool = True):
    return person.run("flatpass-authenticator", "peers", *argv, check=check)


def installs(person: Resident, app: str, check: bool = True):
    return person.flatpak("install", "-y", "--noninteractive", "shop", app, check=check)


def test_a_classroom_installs_and_updates_while_the_store_cannot_be_reached(classroom):
    room = classroom
    ann, bob = room.person("ann"), room.person("bob")
    room.peer.start()

    # Ann takes files from the peer and the rest from the store.
    before = config(ann)
    said = peers(ann, "on", "--peer", room.peer_url("ann"), "shop").stdout
    assert room.lan["ann"] in said, said
    assert f"contenturl=mirrorlist=file://{ann.home}" in config(ann)
    installs(ann, PAID)
    assert "paid, version 1" in says(ann, PAID)
    assert room.peer.has(app_ref(PAID)), "it did not come by the peer"
    installs(ann, FREE)
    listed = json.loads(peers(ann, "list", "--json", "--wait", "1").stdout)
    (shop,) = [one for one in listed["remotes"] if one["name"] == "shop"]
    assert (shop["uses"], shop["answers"]) == ("beside", True), listed
    peers(ann, "off", "shop")
    assert config(ann) == before, "off leaves something behind"

    # Bob uses the peer alone. A pull is cut short by the peer's end; by then his authenticator has the token.
    peers(bob, "on", "--alone", "--peer", room.peer_url("bob"), "shop")
    assert f"url={room.peer_url('bob')}/repo/apps" in config(bob)
    installs(bob, PAID)
    assert "paid, version 1" in says(bob, PAID)
    bob.flatpak("uninstall", "-y", "--noninteractive", PAID)
    room.repo.export_app(FREE, "free, version 2")
    room.publish()
    room.store.settle()
    room.peer.command("mirror", FREE)
    room.cut_off()
    installs(bob, FREE)
    assert "free, version 2" in says(bob, FREE)
    installs(bob, PAID)
    assert "paid, version 1" in says(bob, PAID), "the token that he had is for this version"

    # And with the store in reach again everything is as it was.
    for place in room.places.values():
        place.mend()
    peers(bob, "off")
    assert f"url={room.store.repo_url('apps')}" in config(bob) and "flatpass-url" not in config(bob)
    bob.flatpak("update", "-y", "--noninteractive")


def test_who_has_no_right_gets_nothing_from_the_peer_while_the_store_cannot_be_reached(classroom):
    room = classroom
    ann, bob = room.person("ann"), room.person("bob", entitled=False)
    room.peer.start()
    peers(ann, "on", "--alone", "--peer", room.peer_url("ann"), "shop")
    installs(ann, PAID)
    peers(bob, "on", "--alone", "--peer", room.peer_url("bob"), "shop")
    room.cut_off()
    refused = installs(bob, PAID, check=False)
    assert refused.returncode != 0 and "Failed to get tokens" in refused.stdout, refused.stdout
    commit = room.repo.commit(app_ref(PAID))
    url = f"{room.peer_url('bob')}/repo/apps/objects/{commit[:2]}/{commit[2:]}.commit"
    status = bob.run(
        "/usr/bin/python3", "-c",
        f"import urllib.request, urllib.error\ntry: print(urllib.request.urlopen('{url}').status)\n"
        "except urllib.error.HTTPError as refused: print(refused.code, refused.read().decode())",
    ).stdout
    assert status.startswith("401"), status


def test_a_machine_that_never_gets_online_installs_and_updates_by_the_licence_of_its_site(classroom):
    room = classroom
    licence = room.folder / "class.licence"
    room.store.command("licence", "create", "--repo", "apps", "--app", PAID, "--site", "Class 5", "--devices", "2",
                       "--until", "2030-12-31", "--out", str(licence))
    room.peer.command("licence add", licence)
    secret = room.peer.json("licence device", "Class 5", "bob")["secret"]
    bob = room.person("bob", entitled=False)
    room.peer.command("mirror", PAID, "org.test.Platform")
    room.peer.start()
    room.cut_off()
    peers(bob, "on", "--alone", "--peer", room.peer_url("bob").replace("://", f"://bob:{secret}@"), "shop")
    installs(bob, PAID)
    assert "paid, version 1" in says(bob, PAID)

    # The peer was online for a moment; bob is not.
    room.places["peer"].mend()
    room.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    room.publish()
    room.store.settle()
    room.peer.command("mirror", PAID)
    room.places["peer"].cut()
    deadline = time.monotonic() + 60
    while "paid, version 2" not in says(bob, PAID):
        bob.flatpak("update", "-y", "--noninteractive")
        assert time.monotonic() < deadline, room.peer.log()

    # Another secret opens nothing.
    peers(bob, "off")
    bob.flatpak("uninstall", "-y", "--noninteractive", PAID)
    peers(bob, "on", "--alone", "--peer", room.peer_url("bob").replace("://", f"://bob:{secret[:-1]}@"), "shop")
    refused = installs(bob, PAID, check=False)
    assert refused.returncode != 0 and "paid" not in bob.flatpak("list").stdout.lower(), refused.stdout


class Liar:
    """Says that it is a peer, keeps every token that it is sent, and serves what it has with a byte changed."""

    def __init__(self, repo: Path, place: Place):
        self.folder = repo.parent / "liar"
        self.folder.mkdir()
        self.tokens_file = self.folder / "tokens"
        program = self.folder / "liar.py"
        program.write_text(f"""
import http.server, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_GET(self):
        with open({str(self.tokens_file)!r}, "a") as tokens:
            tokens.write((self.headers.get("Authorization") or "none") + " " + self.path + "\\n")
        path = pathlib.Path({str(repo)!r}) / self.path.removeprefix("/repo/apps/")
        body = path.read_bytes() if path.is_file() else b""
        if self.path.endswith(".dirtree"):
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", 8480), Handler).serve_forever()
""")
        self.server = subprocess.Popen([*place.enter, "/usr/bin/python3", str(program)])

    def tokens(self) -> set[str]:
        lines = self.tokens_file.read_text().splitlines() if self.tokens_file.exists() else []
        return {line.split()[1] for line in lines if line.startswith("Bearer ")}

    def end(self) -> None:
        self.server.kill()
        self.server.wait(timeout=10)


def test_a_hostile_peer_gets_nothing_that_opens_more_than_the_version_asked_for(classroom):
    room = classroom
    ann = room.person("ann")
    old = room.repo.commit(app_ref(PAID))
    room.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    room.publish()
    room.store.settle()
    new = room.repo.commit(app_ref(PAID))
    liar = Liar(room.repo.path, room.places["peer"])
    try:
        deadline = time.monotonic() + 20
        while peers(ann, "on", "--peer", room.peer_url("ann"), "shop", check=False).returncode != 0:
            assert time.monotonic() < deadline, "the liar does not answer"
        # Beside the store: libostree finds the wrong bytes, keeps none of them, and ends the pull.
        failed = installs(ann, PAID, check=False)
        assert failed.returncode != 0 and "Corrupted dirtree object; checksum expected" in failed.stdout, failed.stdout
        collected = liar.tokens()
        assert collected, "the liar was not even asked"

        def at_store(path: str, token: str) -> int:
            return room.store.get(f"repo/apps/{path}", {"Authorization": f"Bearer {token}"})[0]

        def commit_path(commit: str) -> str:
            return f"objects/{commit[:2]}/{commit[2:]}.commit"

        for token in collected:
            assert at_store(commit_path(new), token) == 200, "a token for mirrors opens what was asked for"
            assert at_store(commit_path(old), token) == 403, "and nothing else, not even of the same app"
        peers(ann, "off")
        installs(ann, PAID)
        assert "paid, version 2" in says(ann, PAID)
        ann.flatpak("uninstall", "-y", "--noninteractive", PAID)

        # Alone: what it is sent is for peers, and opens nothing at the store.
        liar.tokens_file.unlink()
        peers(ann, "on", "--alone", "--peer", room.peer_url("ann"), "shop")
        assert installs(ann, PAID, check=False).returncode != 0
        for_peers = liar.tokens()
        assert for_peers and not for_peers & collected
        for token in for_peers:
            assert at_store(commit_path(new), token) == 401, "a token for peers opens something at the store"
        peers(ann, "off")
    finally:
        liar.end()


def test_the_bridge_takes_wrong_bytes_from_nobody_and_fetches_them_from_the_store(private_classroom):
    room = private_classroom
    ann = room.person("ann")
    bridge = ann.background("flatpass-authenticator", "bridge")
    liar = Liar(room.repo.path, room.places["peer"])
    try:
        peers(ann, "on", "--peer", room.peer_url("ann"), "shop")
        deadline = time.monotonic() + 20
        while installs(ann, PAID, check=False).returncode != 0:
            assert time.monotonic() < deadline, ann.session_log()
        assert "paid, version 1" in says(ann, PAID)
        assert liar.tokens(), "the liar was not asked for anything with a token"
        for token in liar.tokens():
            commit = room.repo.commit(app_ref(PAID))
            path = f"repo/apps/objects/{commit[:2]}/{commit[2:]}.commit"
            assert room.store.get(path, {"Authorization": f"Bearer {token}"})[0] == 401
        told = json.loads(ann.run("flatpass-authenticator", "bridge", "status", "--json").stdout)["liars"]
        assert [one["peer"] for one in told] == [f"{room.peer_url('ann')}/repo/apps"], told
        assert "sent wrong bytes" in ann.run("flatpass-authenticator", "bridge", "status").stdout
    finally:
        liar.end()
    room.peer.start()
    # A new bridge gives the address another chance: it is another peer now.
    bridge.terminate()
    bridge.wait(timeout=15)
    ann.background("flatpass-authenticator", "bridge")
    ann.flatpak("uninstall", "-y", "--noninteractive", PAID)
    deadline = time.monotonic() + 20
    while installs(ann, PAID, check=False).returncode != 0:
        assert time.monotonic() < deadline, ann.session_log()
    assert room.peer.has(app_ref(PAID))


def test_a_peer_that_is_killed_while_it_fills_itself_is_whole_afterwards(classroom):
    room = classroom
    ann = room.person("ann")
    room.peer.start()
    peers(ann, "on", "--alone", "--peer", room.peer_url("ann"), "shop")
    for wait in (0.02, 0.3):
        killer = threading.Timer(wait, room.peer.kill)
        killer.start()
        installs(ann, PAID, check=False)
        killer.join()
        room.peer.start()
    installs(ann, PAID)
    assert "paid, version 1" in says(ann, PAID)
    room.peer.stop()
    # Every object that is there is what its name says.
    repo = room.peer.folder / "repo"
    checked = 0
    for path in repo.glob("objects/*/*.file*"):
        checked += 1
    assert checked > 0
    done = subprocess.run(["ostree", f"--repo={repo}", "fsck", "-q"], capture_output=True, text=True)
    assert "corrupt" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    assert not list(repo.glob("objects/*/.*")), "half a file was left under a name"


def test_keys_that_change_while_the_peer_is_away_are_followed_when_it_is_back(classroom):
    room = classroom
    ann, bob = room.person("ann"), room.person("bob")
    room.peer.start()
    peers(ann, "on", "--alone", "--peer", room.peer_url("ann"), "shop")
    peers(bob, "on", "--alone", "--peer", room.peer_url("bob"), "shop")
    installs(ann, PAID)
    room.places["peer"].cut()
    before = room.peer.status()["keys"]
    rotated = room.store.command("key", "rotate", check=False)
    assert rotated.returncode == 0, rotated.stderr
    room.store.settle()
    # What it has not heard of, it does not take; who has a token by a key that it knows is served on.
    bob_first = installs(bob, PAID, check=False)
    room.places["peer"].mend()
    deadline = time.monotonic() + 60
    while room.peer.status()["keys"] == before:
        assert time.monotonic() < deadline, room.peer.log()
        time.sleep(0.5)
    if bob_first.returncode != 0:
        bob.end_authenticator()
        installs(bob, PAID)
    assert "paid, version 1" in says(bob, PAID)


def test_the_peers_of_a_network_are_found_by_themselves(classroom):
    room = classroom
    ann = room.person("ann")
    room.peer.start()
    listed = json.loads(peers(ann, "list", "--json", "--wait", "5").stdout)
    (found,) = listed["peers"]
    assert found == {"url": f"{room.peer_url('ann')}/repo/apps", "store": room.store.url, "repo": "apps", "answers": True, "remotes": ["shop"]}
    peers(ann, "on", "--wait", "5")
    installs(ann, PAID)
    assert room.peer.has(app_ref(PAID))

    # The computer's own installation as well.
    ann.run("flatpak", "--system", "remote-add", f"--gpg-import={room.key.public}", "whole", room.store.repo_url("apps"))
    path = Path(ann.env["FLATPAK_SYSTEM_DIR"]) / "repo" / "config"
    before = path.read_text()
    peers(ann, "on", "--system", "--wait", "5", "whole")
    assert "flatpass-peers/whole" in path.read_text()
    ann.run("flatpak", "--system", "install", "-y", "--noninteractive", "whole", FREE)
    assert room.peer.has(app_ref(FREE))
    peers(ann, "off", "--system")
    assert path.read_text() == before
