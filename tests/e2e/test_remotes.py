"""Private remotes with a secret of the device in their address, and machines without a session bus."""

import base64
import contextlib
import json
import re
import tempfile
import threading
from pathlib import Path

import pexpect
import pytest

from stage.person import Person
from stage.repo import FREE, MUST_BE_BOUGHT, PAID, WIKI, company_repo
from stage.signing import Key
from stage.store import Store, programs

AUTHENTICATOR = "flatpass-authenticator"


def member(world, name: str):
    """Somebody with an account who may have everything of the repo, and has no remote yet."""
    person = world.person(name, remote=None)
    world.store.command("account", "add", person.email, stdin=person.password + "\n")
    world.store.command("grant", person.email, "apps", "*")
    world.store.settle()
    person.has_account = True
    person.browser_will("buy")
    return person


def where(world) -> str:
    """STORE/REPO, as a person types it."""
    return world.store.repo_url("apps").removeprefix("http://").replace("/repo/", "/")


def config(person, scope: str) -> str:
    folder = {"user": person.home / ".local/share/flatpak", "system": person.env["FLATPAK_SYSTEM_DIR"]}[scope]
    return (Path(folder) / "repo" / "config").read_text()


def secret(person, scope: str) -> str:
    """The secret that stands in the configuration."""
    return re.search(r"^url=http://device:([A-Za-z0-9._~-]+)@", config(person, scope), re.MULTILINE)[1]


def opens(world, password: str) -> bool:
    basic = base64.b64encode(f"device:{password}".encode()).decode()
    return world.store.get("repo/apps/config", {"Authorization": f"Basic {basic}"})[0] == 200


@pytest.fixture
def open_to_all():
    """A folder that every user can look into, as /var/lib/flatpak; those of the tests are closed."""
    with tempfile.TemporaryDirectory(prefix="fp-system-") as folder:
        Path(folder).chmod(0o755)
        yield folder


@contextlib.contextmanager
def all_arguments():
    """The arguments of every process that is seen meanwhile."""
    seen: set[str] = set()
    done = threading.Event()

    def watch():
        while not done.wait(0.002):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def test_a_member_adds_uses_rotates_and_removes_a_private_remote(private_world):
    world = private_world
    ann = member(world, "ann")
    with all_arguments() as arguments:
        added = ann.run(AUTHENTICATOR, "remote-add", "--user", "--no-gpg-verify", where(world), "shop")
        old = secret(ann, "user")
        assert PAID in ann.flatpak("remote-ls", "--columns=application", "shop").stdout
        ann.flatpak("install", "-y", "shop", FREE)
        ann.flatpak("install", "-y", "--noninteractive", "shop", PAID)
        before = config(ann, "user")
        rotated = ann.run(AUTHENTICATOR, "-v", "remote-rotate", "shop")
        new = secret(ann, "user")
        assert config(ann, "user") == before.replace(old, new)
        world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
        world.repo.name_authenticator(world.store.url)
        world.store.settle()
        ann.flatpak("update", "-y", "--noninteractive")
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    assert opens(world, new) and not opens(world, old)
    made = world.store.json("access-token", "list")
    assert "(user)" in json.dumps(made)
    said = added.stdout + rotated.stdout + ann.session_log() + world.store.log()
    seen = "\n".join(arguments)
    assert "remote-add" in seen and "remote-rotate" in seen
    for one in (old, new):
        assert one not in seen and one not in said
    ann.run(AUTHENTICATOR, "remote-remove", "--force", "shop")
    assert "shop" not in config(ann, "user") and not opens(world, new)


def test_a_machine_without_a_browser_is_let_in_by_a_code_for_all_its_users(private_world, open_to_all):
    world = private_world
    ann = member(world, "ann")
    ann.env["FLATPAK_SYSTEM_DIR"] = open_to_all
    del ann.env["BROWSER"]
    terminal = {**ann.env, "TERM": "xterm-256color"}
    browser = {**ann.env, "BROWSER": str(Path(__file__).parents[1] / "stage" / "scripted-browser")}
    ann.env = terminal
    window = ann.at_terminal(AUTHENTICATOR, "remote-add", "--system", "--no-gpg-verify", where(world), "shop")
    window.expect(r"every user and every program of this computer can read.*Go on\? \[y/N\] ")
    window.sendline("y")
    window.expect(r"\s([B-Z]{4}-[B-Z]{4})\s")
    code = window.match[1]
    window.expect("\u2580")  # the picture
    window.expect("Waiting")
    ann.env = browser
    ann.browser_will(f"device {code}")
    ann.run(browser["BROWSER"], world.store.url + "device")
    assert "device: The device is in" in "\n".join(ann.pages_seen())
    window.expect("Added the remote shop")
    window.wait()
    assert window.exitstatus == 0
    assert "(system)" in json.dumps(world.store.json("access-token", "list"))
    assert PAID in ann.run("flatpak", "--system", "remote-ls", "--columns=application", "shop").stdout
    ann.run("flatpak", "--system", "install", "-y", "shop", FREE)
    # A rotation by root, with nobody at the machine.
    old = secret(ann, "system")
    ann.run(AUTHENTICATOR, "remote-rotate", "--system", "shop")
    assert opens(world, secret(ann, "system")) and not opens(world, old)
    ann.run("flatpak", "--system", "update", "-y")


def test_a_person_says_no_to_a_secret_that_all_can_read(private_world, open_to_all):
    ann = member(private_world, "ann")
    ann.env["FLATPAK_SYSTEM_DIR"] = open_to_all
    window = ann.at_terminal(AUTHENTICATOR, "remote-add", "--system", "--no-gpg-verify", where(private_world), "shop")
    window.expect(r"Go on\? ")
    window.sendline("")
    window.expect("nothing was changed")
    window.wait()
    assert window.exitstatus == 3
    assert private_world.store.json("access-token", "list") == []
    assert ann.pages_seen() == []


def test_who_is_no_member_is_told_so_and_a_repo_that_is_not_there_is_the_same(private_world):
    world = private_world
    eve = world.person("eve", remote=None)
    world.store.command("account", "add", eve.email, stdin=eve.password + "\n")
    eve.has_account = True
    eve.browser_will("buy")
    answers = []
    for repo in ("apps", "nothing"):
        there = where(world).replace("/apps", f"/{repo}")
        done = eve.run(AUTHENTICATOR, "remote-add", "--user", "--no-gpg-verify", there, "shop", check=False)
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        answers.append((len(lines), lines[-1].replace(repo, "REPO")))
    assert answers[0][1] == answers[1][1]
    assert world.store.json("access-token", "list") == []


@pytest.fixture
def kiosk(private_world):
    """A machine with a robot of its own, and neither a session bus nor a browser."""
    world = private_world
    machine = world.person("kiosk", remote=None)
    world.store.command("robot", "add", "kiosk")
    world.store.command("grant", "robot/kiosk", "apps", "*")
    world.store.command("robot", "secret", "kiosk", "--out", str(machine.home / "robot.toml"))
    world.store.settle()
    before = dict(machine.env)
    for name in ("BROWSER", "DBUS_SESSION_BUS_ADDRESS"):
        del machine.env[name]
    yield machine
    machine.env.update(before)


def test_a_machine_without_a_session_bus_installs_and_updates_as_a_robot(private_world, kiosk):
    world = private_world
    robot = ["--robot", str(kiosk.home / "robot.toml")]
    kept = (kiosk.home / "robot.toml").read_text()
    robot_secret = re.search(r'client_secret = "([^"]+)"', kept)[1]
    with all_arguments() as arguments:
        kiosk.run(AUTHENTICATOR, "remote-add", "--system", "--no-gpg-verify", *robot, where(world), "shop")
        run = [AUTHENTICATOR, "-v", "run", *robot, "--"]
        said = kiosk.run(*run, "flatpak", "install", "--system", "-y", "--noninteractive", "shop", PAID).stdout
        world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
        world.repo.name_authenticator(world.store.url)
        world.store.settle()
        without = kiosk.run("flatpak", "update", "--system", "-y", "--noninteractive", check=False)
        assert without.returncode != 0, "there is no authenticator without a bus"
        said += kiosk.run(*run, "flatpak", "update", "--system", "-y", "--noninteractive").stdout
    assert "paid, version 2" in kiosk.run("flatpak", "run", PAID).stdout
    seen = "\n".join(arguments)
    for one in (robot_secret, secret(kiosk, "system")):
        assert one not in seen and one not in said and one not in world.store.log()
    assert list(Path(kiosk.env["XDG_RUNTIME_DIR"]).glob("flatpass-bus-*")) == []

    # The robot's secret is ended: so is what was made with it, and nothing new comes. (Flatpak takes that for no error.)
    (listed,) = world.store.json("robot", "list")
    world.store.command("robot", "revoke", "kiosk", listed["secrets"][0]["id"])
    world.store.settle()
    assert not opens(world, secret(kiosk, "system"))
    world.repo.export_app(PAID, "paid, version 3", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    world.store.settle()
    kiosk.run(*run, "flatpak", "update", "--system", "-y", "--noninteractive", check=False)
    assert "paid, version 2" in kiosk.run("flatpak", "run", PAID).stdout


def test_signing_in_again_leaves_the_remotes_that_were_added_before(private_world):
    ann = member(private_world, "ann")
    ann.run(AUTHENTICATOR, "remote-add", "--user", "--no-gpg-verify", where(private_world), "shop")
    ann.run(AUTHENTICATOR, "login", private_world.store.url)
    assert opens(private_world, secret(ann, "user"))
    # What signing out does to a remote is said: it ends what was made with the sign-in.
    ann.run(AUTHENTICATOR, "remote-remove", "shop")
    ann.run(AUTHENTICATOR, "remote-add", "--user", "--no-gpg-verify", where(private_world), "shop")
    out = ann.run(AUTHENTICATOR, "logout", private_world.store.url).stdout
    assert "remotes that were added with it do not work any more" in out
    private_world.store.settle()
    assert not opens(private_world, secret(ann, "user"))


def test_a_robots_remote_over_the_bridge_has_no_secret_at_all(private_world, kiosk):
    world = private_world
    robot = ["--robot", str(kiosk.home / "robot.toml")]
    kiosk.run(AUTHENTICATOR, "remote-add", "--system", "--bridge", "--no-gpg-verify", *robot, where(world), "shop")
    assert "device:" not in config(kiosk, "system")
    run = [AUTHENTICATOR, "run", *robot, "--"]
    kiosk.run(*run, "flatpak", "install", "--system", "-y", "--noninteractive", "shop", PAID)
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    world.store.settle()
    kiosk.run(*run, "flatpak", "update", "--system", "-y", "--noninteractive")
    assert "paid, version 2" in kiosk.run("flatpak", "run", PAID).stdout


def test_the_key_of_a_signed_private_repo_comes_from_the_store_itself(tmp_path, signing_key):
    repo = company_repo(tmp_path / "signed", signing_key)
    store = Store(tmp_path / "store", programs())
    repo.name_authenticator(store.url)
    store.command("repo", "add", "internal", str(repo.path), "--policy", "private", "--gpg-key", str(signing_key.public))
    ann = Person(tmp_path / "people", "ann", programs())
    store.start()
    try:
        store.command("account", "add", ann.email, stdin=ann.password + "\n")
        store.command("grant", ann.email, "internal", "*")
        store.settle()
        ann.has_account = True
        ann.browser_will("buy")
        ann.run(AUTHENTICATOR, "remote-add", "--user", f"127.0.0.1:{store.port}/internal")
        assert "gpg-verify=true" in config(ann, "user") and "[remote \"internal\"]" in config(ann, "user")
        ann.flatpak("install", "-y", "--noninteractive", "internal", WIKI)
        assert "the wiki, version 1" in ann.run("flatpak", "run", WIKI).stdout
    finally:
        ann.leave()
        store.kill()


@pytest.fixture
def signing_key(tmp_path):
    key = Key(tmp_path / "key")
    yield key
    key.end()


def test_ctrl_c_reaches_the_command_once(private_world):
    ann = private_world.person("ann", remote=None)
    script = "n=0; trap 'n=$((n+1))' INT; echo ready; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.5; exit $((40+n))"
    window = ann.at_terminal(AUTHENTICATOR, "run", "--", "sh", "-c", script)
    window.expect("ready")
    window.sendintr()
    window.expect(pexpect.EOF)
    window.close()
    assert window.exitstatus == 41
