"""Private container registries with no store between them and Flatpak: the authenticator finds the way by itself.

The registry is Debian's docker-registry, the client stock flatpak, the index a file on a web server.
"""

import base64
import contextlib
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pexpect
import pytest

from stage.images import Images, Login
from stage.oci_shop import OciShop
from stage.person import STAGE, Person
from stage.plain_index import PlainIndex
from stage.registry import Htpasswd, Registry
from stage.repo import FREE, PAID, RUNTIME, app_ref
from stage.store import programs

OURS = "org.flatpass.Authenticator"
FLATPAKS = "org.flatpak.Authenticator.Oci"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


class Surroundings:
    """A registry with what `images` has, an index of it, and people."""

    def __init__(self, folder, images: Images, registry: Registry | None = None):
        self.folder = folder
        self.images = images
        self.registry = registry or Registry(folder / "registry")
        self.index = PlainIndex(images.layout, self.registry.url, "shop")
        self._people: list[Person] = []

    def person(self, name: str, *options: str, authenticator: str | None = OURS) -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        named = [f"--authenticator-name={authenticator}"] if authenticator else []
        person.flatpak("remote-add", *named, *options, "shop", self.index.url)
        return person

    def end(self) -> None:
        for person in self._people:
            person.leave()
        self.index.end()
        self.registry.stop()


@pytest.fixture
def surroundings(tmp_path, images):
    surroundings = Surroundings(tmp_path, images)
    yield surroundings
    surroundings.end()


class TokenSurroundings(Surroundings):
    """The registry takes tokens of a realm: everybody's for the free app, members' for the paid one."""

    def __init__(self, folder, images: Images):
        self.realm = OciShop(folder, images).start()
        super().__init__(folder, images, self.realm.registry)
        self.account = self.realm.account

    def end(self) -> None:
        super().end()
        self.realm.end()


@pytest.fixture
def closed(tmp_path, images):
    surroundings = TokenSurroundings(tmp_path, images)
    yield surroundings
    surroundings.end()


def podman_login(person: Person, host: str, login: Login) -> None:
    """What `podman login` writes, by skopeo's `login` where there is one."""
    person.run("skopeo", "login", "--tls-verify=false", "--username", login.user, "--password-stdin", host, stdin=login.password)


def test_images_for_everybody_need_no_token_and_nobody(surroundings):
    surroundings.registry.start()
    surroundings.images.layout.push_all(surroundings.registry.host, "shop")
    ann = surroundings.person("ann")
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout


def test_a_registry_that_knows_passwords_only_is_told_of_clearly(surroundings):
    surroundings.registry.auth = Htpasswd({"ann": "pw"})
    surroundings.registry.start()
    surroundings.images.layout.push_all(surroundings.registry.host, "shop", Login("ann", "pw"))
    ann = surroundings.person("ann")
    podman_login(ann, surroundings.registry.host, Login("ann", "pw"))
    refused = ann.flatpak("install", "-y", "shop", FREE, check=False)
    assert refused.returncode != 0
    assert "(HTTP Basic), which Flatpak cannot send" in refused.stdout, refused.stdout


def test_what_podman_and_a_credential_helper_know_opens_a_private_registry_and_updates_need_nobody(closed):
    login = closed.account("ann", PAID)
    ann = closed.person("ann")
    ann.flatpak("install", "-y", "shop", FREE)  # with an anonymous token
    refused = ann.flatpak("install", "-y", "shop", PAID, check=False)
    assert f"Run `flatpass-authenticator registry login {closed.registry.host}`" in refused.stdout, refused.stdout
    podman_login(ann, closed.registry.host, login)
    ann.flatpak("install", "-y", "shop", PAID)
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    assert PAID + ".Locale" in ann.flatpak("list", "--all").stdout

    # Somebody else has the secret in a helper, and no file has it.
    bob_login = closed.account("bob", PAID)
    bob = closed.person("bob")
    helper = bob.home / "bin" / "docker-credential-stage"
    helper.parent.mkdir()
    answer = json.dumps({"ServerURL": closed.registry.host, "Username": bob_login.user, "Secret": bob_login.password})
    helper.write_text(f"#!/bin/sh\ncat >> {bob.home}/asked\necho '{answer}'\n")
    helper.chmod(0o755)
    (bob.home / ".docker").mkdir()
    (bob.home / ".docker" / "config.json").write_text(json.dumps({"credHelpers": {closed.registry.host: "stage"}}))
    bob.run("dbus-update-activation-environment", f"PATH={helper.parent}:{bob.env['PATH']}")
    bob.flatpak("install", "-y", "shop", PAID)
    assert closed.registry.host in (bob.home / "asked").read_text()


def test_an_account_that_may_not_have_it_is_told_so(closed):
    login = closed.account("eve")
    eve = closed.person("eve")
    podman_login(eve, closed.registry.host, login)
    refused = eve.flatpak("install", "-y", "shop", PAID, check=False)
    assert "Failed to get tokens for ref" in refused.stdout and PAID not in eve.flatpak("list").stdout, refused.stdout
    assert "may not download" in refused.stdout or "does not accept" in refused.stdout, refused.stdout


def at_prompts(window: pexpect.spawn, logins: list[Login]) -> str:
    """Answers flatpak's questions with yes, and those for a password with one login after the other."""
    text = ""
    while True:
        found = window.expect([r"\[Y/n\]: ?", r"\[y/n\]: ?", "User: ", "Password: ", pexpect.EOF])
        text += (window.before or "") + (window.after if isinstance(window.after, str) else "")
        if found in (0, 1):
            window.sendline("y")
        elif found == 2:
            window.sendline(logins[0].user)
        elif found == 3:
            window.sendline(logins.pop(0).password)
        else:
            window.close()
            return text


def test_a_person_at_a_terminal_is_asked_again_after_a_wrong_password_and_never_with_no_interaction(closed):
    login = closed.account("ann", PAID)
    ann = closed.person("ann", "--authenticator-option=remember=true")
    window = ann.at_terminal("flatpak", "--user", "install", "shop", PAID)
    text = at_prompts(window, [Login(login.user, "wrong"), login])
    assert window.exitstatus == 0, text + ann.session_log()
    assert closed.registry.host in text and "does not accept that" in text, text
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    # The remote's option says that it is to be remembered.
    assert closed.registry.host in ann.run("flatpass-authenticator", "registry", "list").stdout
    ann.end_authenticator()
    ann.flatpak("uninstall", "-y", PAID)
    ann.flatpak("install", "-y", "--noninteractive", "shop", PAID)
    ann.run("flatpass-authenticator", "registry", "logout", closed.registry.host)
    ann.end_authenticator()
    ann.flatpak("uninstall", "-y", PAID)
    refused = ann.flatpak("install", "-y", "--noninteractive", "shop", PAID, check=False)
    assert refused.returncode != 0 and "registry login" in refused.stdout, refused.stdout


def test_a_sign_in_at_the_registry_ahead_of_time_shows_no_password(closed):
    login = closed.account("ann", PAID)
    ann = closed.person("ann")
    window = ann.at_terminal("flatpass-authenticator", "registry", "login", closed.registry.host)
    text = at_prompts(window, [login])
    assert "You are signed in to the registry" in text and login.password not in text, text
    ann.flatpak("install", "-y", "shop", PAID)


def test_a_program_with_libflatpak_gets_the_signal_and_may_say_that_it_is_remembered(closed):
    login = closed.account("ann", PAID)
    ann = closed.person("ann")
    ann.flatpak("install", "-y", "shop", RUNTIME)
    argv = ["/usr/bin/python3", str(STAGE / "gi_install.py"), "install", "shop", app_ref(PAID)]
    nobody = json.loads(ann.run(*argv).stdout.splitlines()[-1])
    assert not nobody["ok"] and nobody["events"] == ["basic-auth-start"], nobody
    done = ann.run(*argv, f"--login={login.user}:wrong", f"--login={login.user}:{login.password}")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ok"], (result, ann.session_log())
    assert len(result["events"]) == 2 and "does not accept that" in result["events"][1], result
    assert closed.registry.host in ann.run("flatpass-authenticator", "registry", "list").stdout


def test_a_machine_without_a_session_uses_the_credentials_of_a_file(closed):
    login = closed.account("box", PAID)
    box = closed.person("box", authenticator=None)  # Flatpak's own name, which on the private bus is ours too
    file = box.home / "auth.json"
    auth = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    file.write_text(json.dumps({"auths": {f"{closed.registry.host}/shop": {"auth": auth}}}))
    update = ["flatpass-authenticator", "run", "--", "flatpak", "install", "--user", "-y", "--noninteractive", "shop", PAID]
    refused = box.run(*update, check=False)
    assert refused.returncode != 0 and "registry login" in refused.stdout, refused.stdout
    box.run("env", f"REGISTRY_AUTH_FILE={file}", *update)
    assert PAID in box.flatpak("list").stdout


def test_it_stands_in_for_flatpaks_own_authenticator_for_remotes_that_name_none(closed):
    login = closed.account("ann", PAID)
    ann = closed.person("ann", authenticator=None)
    podman_login(ann, closed.registry.host, login)
    # Flatpak's own takes an anonymous token for what it is not enough for, and shows the registry's words or none.
    ann.run("flatpass-authenticator", "install", "--for-oci")
    ann.run("dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus",
            "org.freedesktop.DBus.ReloadConfig")
    ann.flatpak("install", "-y", "shop", PAID)
    assert "flatpass-authenticator" in program_of(ann, FLATPAKS)
    # Beside it the other name is served as well, by a process of its own.
    ann.flatpak("remote-modify", f"--authenticator-name={OURS}", "shop")
    ann.flatpak("install", "-y", "shop", FREE)
    assert program_of(ann, OURS) and program_of(ann, FLATPAKS)
    end(ann, FLATPAKS)
    # Taken away again, Flatpak's own is back.
    ann.run("flatpass-authenticator", "install", "--remove")
    ann.run("dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus",
            "org.freedesktop.DBus.ReloadConfig")
    ann.run("dbus-send", "--session", "--print-reply", f"--dest={FLATPAKS}", "/org/freedesktop/Flatpak/Authenticator",
            "org.freedesktop.DBus.Peer.Ping")
    assert "flatpak-oci-authenticator" in program_of(ann, FLATPAKS)
    end(ann, FLATPAKS)


def owner(person: Person, name: str) -> int | None:
    asked = person.run("dbus-send", "--session", "--print-reply=literal", "--dest=org.freedesktop.DBus",
                       "/org/freedesktop/DBus", "org.freedesktop.DBus.GetConnectionUnixProcessID", f"string:{name}", check=False)
    return int(asked.stdout.split()[-1]) if asked.returncode == 0 else None


def program_of(person: Person, name: str) -> str:
    """The command line of whoever has the name."""
    pid = owner(person, name)
    assert pid is not None, f"nobody has {name}"
    with open(f"/proc/{pid}/cmdline", "rb") as line:
        return line.read().replace(b"\0", b" ").decode()


def end(person: Person, name: str) -> None:
    pid = owner(person, name)
    if pid is not None:
        os.kill(pid, 15)
        for _ in range(100):
            if owner(person, name) is None:
                return
            time.sleep(0.05)


@contextlib.contextmanager
def collector():
    """A registry of somebody who collects what is sent to it: it asks for a sign-in, and notes all of it."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            seen.append(f"{self.command} {self.path} {self.headers.get('Authorization')} {self.rfile.read(length)!r}")
            realm = f'Bearer realm="http://127.0.0.1:{self.server.server_port}/token",service="{known}"'
            self.send_response(401)
            self.send_header("WWW-Authenticate", realm)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known = ""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", seen
    finally:
        server.shutdown()
        server.server_close()


def test_an_index_that_points_at_a_collector_gets_no_password_and_no_token(closed):
    login = closed.account("ann", PAID)
    auth = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    ann = closed.person("ann", f"--authenticator-option=auth={auth}")
    podman_login(ann, closed.registry.host, login)
    with collector() as (url, seen):
        closed.index.registry = url
        refused = ann.flatpak("install", "-y", "shop", PAID, check=False)
        assert refused.returncode != 0
        assert any("HEAD /v2/" in line for line in seen), (seen, refused.stdout)
        assert all(auth not in line and login.password not in line and "Bearer" not in line for line in seen), seen
