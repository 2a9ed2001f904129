"""The story that ./demo private plays: a company's list of apps is secret, each sees what it may, and a kiosk updates alone."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from stage.person import STAGE, Person
from stage.repo import LEDGER, WIKI, company_repo
from stage.signing import Key
from stage.story import Scene, must, play, show, tell

REMOTE = "internal"


def browse(person: Person, plan: str, url: str) -> None:
    """The person opens an address in their own browser and does what `plan` says."""
    person.browser_will(plan)
    person.run(str(STAGE / "scripted-browser"), url)
    show("\n".join(f"browser: {line}" for line in person.pages_seen()))
    person.has_account = True
    person.browser_will("buy")


def apps(person: Person) -> str:
    return person.flatpak("remote-ls", "--columns=application", REMOTE, check=False).stdout


def story(scene: Scene) -> None:
    folder, store = scene.folder, scene.store
    tell("1. Acme has a repository of its own, signed: a wiki for everybody, a ledger for accounting.")
    key = Key(folder / "key")
    try:
        tell_it(scene, folder, store, key)
    finally:
        key.end()


def tell_it(scene: Scene, folder: Path, store, key: Key) -> None:
    repo = company_repo(folder / "repo", key)
    repo.name_authenticator(store.url)
    show(repo.ostree("refs"))
    store.command("repo", "add", REMOTE, str(repo.path), "--policy", "private", "--signing-key", str(key.secret))
    show(store.command("repo", "check", REMOTE, check=False).stdout)

    tell("2. Two groups: staff sees the wiki and the runtime, accounting the ledger too.")
    store.command("group", "add", "staff")
    store.command("group", "add", "accounting")
    for app in (WIKI, "org.test.Platform"):
        store.command("grant", "--group", "staff", REMOTE, app)
    store.command("grant", "--group", "accounting", REMOTE, LEDGER)
    store.start()

    tell("3. An outsider learns nothing: what is there and what is not answer alike.")
    there, absent = store.get(f"repo/{REMOTE}/summary"), store.get("repo/no-such-repo/summary")
    show(f"$ curl …/repo/{REMOTE}/summary\n{there[0]} {there[2].decode()}")
    show(f"$ curl …/repo/no-such-repo/summary\n{absent[0]} {absent[2].decode()}")
    must(there[0] == absent[0] == 401, "an outsider could tell a private repository from none")

    tell("4. Ann gets the link into staff, and bob too; bob is in accounting as well.")
    invited = store.json("group", "invite", "staff", "--uses", "5")
    ann = scene.person("ann")
    browse(ann, "join", invited["link"])
    bob = scene.person("bob")
    browse(bob, "join", invited["link"])
    store.command("group", "add-member", "accounting", bob.email)
    show(store.command("group", "members", "staff").stdout)

    tell("5. Way one: ann adds the remote. Her browser opens once; the remote then has a secret of this device in its URL.")
    added = ann.run("flatpass-authenticator", "remote-add", "--user", "--gpg-import", str(key.public), store.repo_url(REMOTE), REMOTE)
    show(added.stdout)
    show(f"$ flatpak remote-ls {REMOTE}\n{apps(ann)}")
    must(WIKI in apps(ann) and LEDGER not in apps(ann), "ann does not see just what staff may see")
    ann.flatpak("install", "-y", REMOTE, WIKI)
    show(f"$ flatpak run {WIKI}\n{ann.run('flatpak', 'run', WIKI).stdout}")

    tell("6. Way two: bob takes the bridge. His sign-in stays in the keyring or a 0600 file; no configuration has a secret in it.")
    bridged = bob.run("flatpass-authenticator", "remote-add", "--bridge", "--user", "--gpg-import", str(key.public), store.repo_url(REMOTE), REMOTE)
    show(bridged.stdout)
    bridge = bob.background("flatpass-authenticator", "bridge")
    show(f"$ flatpak remote-ls {REMOTE}\n{apps(bob)}")
    must(LEDGER in apps(bob) and WIKI in apps(bob), "bob does not see what both his groups may see")
    bob.flatpak("install", "-y", REMOTE, LEDGER)
    show(f"$ flatpak run {LEDGER}\n{bob.run('flatpak', 'run', LEDGER).stdout}")
    config = Path(bob.env["XDG_DATA_HOME"]) / "flatpak" / "repo" / "config"
    url = re.search(r"url=(.*)", config.read_text()).group(1)
    show(f"the remote's URL: {url}")
    must("@" not in url and url.startswith("http://127.0.0.1:"), "there is a secret in bob's remote")

    tell("7. A kiosk has no session and nobody in front of it. A robot's credentials are all it needs.")
    store.command("robot", "add", "kiosk")
    store.command("grant", "robot/kiosk", REMOTE, WIKI)
    store.command("grant", "robot/kiosk", REMOTE, "org.test.Platform")
    robot = folder / "robot.toml"
    store.command("robot", "secret", "kiosk", "--out", str(robot))
    store.settle()
    kiosk = scene.person("kiosk")
    del kiosk.env["DBUS_SESSION_BUS_ADDRESS"]
    kiosk.run("flatpass-authenticator", "remote-add", "--user", "--robot", str(robot), "--gpg-import", str(key.public), store.repo_url(REMOTE), REMOTE)
    run = ["flatpass-authenticator", "run", "--robot", str(robot), "--"]
    kiosk.run(*run, "flatpak", "--user", "install", "-y", "--noninteractive", REMOTE, WIKI)
    repo.export_app(WIKI, "the wiki, version 2", locale=True, described=True)
    repo.name_authenticator(store.url)
    store.settle()
    kiosk.run(*run, "flatpak", "--user", "update", "-y", "--noninteractive")
    said = kiosk.run("flatpak", "run", WIKI).stdout
    show(f"$ flatpak run {WIKI}   # on the kiosk\n{said}")
    must("version 2" in said, "the kiosk did not update")

    tell("8. Ann leaves Acme. What she has stays on her machine; the gates refuse her within a second.")
    store.command("group", "remove-member", "staff", ann.email)
    store.settle()
    refused = ann.flatpak("remote-ls", REMOTE, check=False)
    show(f"$ flatpak remote-ls {REMOTE}\n{refused.stdout}")
    must(refused.returncode != 0 and "401" in refused.stdout, "ann's device still sees the list")
    ann.flatpak("update", "-y", "--noninteractive", check=False)
    said = ann.run("flatpak", "run", WIKI).stdout
    must("version 1" in said, "ann got a version that she may not have")
    bridge.send_signal(signal.SIGTERM)
    bridge.wait(timeout=10)


def stay(scene: Scene) -> None:
    tell("The store stays until you press Ctrl-C.")
    show(f"Its pages: {scene.store.url}, its folder: {scene.folder / 'store'}; ann@example.org has the password {scene.person('eve').password!r}")
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


play("Acme", story, stay if "--stay" in sys.argv else None)
