"""The story that ./demo peer plays: a classroom installs an app once over the line, and goes on when the line is cut."""

import re
from pathlib import Path

from stage import networks
from stage.networks import Place, Resident
from stage.office import Office
from stage.person import Person
from stage.repo import FREE, MUST_BE_BOUGHT, PAID, Repo, app_ref
from stage.signing import Key
from stage.store import programs
from stage.story import Scene, must, play, show, tell


class School:
    """Where things are: on networks of their own if they can be made here, else all on this machine, and the store is stopped in place of a cut."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self.real = not networks.reason_not_to()
        self.places: dict[str, Place] = {}
        self.people: list[Person] = []

    def begin(self) -> None:
        if self.real:
            self.places = {name: Place(self.scene.store.port) for name in ("peer", "ann", "bob")}
            self.lan = {name: self.places["peer"].join(self.places[name])[0] for name in ("ann", "bob")}

    def person(self, name: str) -> Person:
        if not self.real:
            return self.scene.person(name)
        person = Resident(self.places[name], self.scene.folder / "people", name, programs())
        self.people.append(person)
        return person

    def peer_url(self, name: str) -> str:
        return f"http://{self.lan[name] if self.real else '127.0.0.1'}:8480"

    def cut(self) -> None:
        for place in self.places.values():
            place.cut()
        if not self.real:
            self.scene.store.stop()

    def end(self) -> None:
        for person in self.people:
            person.leave()
        for place in self.places.values():
            place.end()


def pupil(school: School, name: str, key: Key, entitled: bool) -> Person:
    store = school.scene.store
    person = school.person(name)
    store.command("account", "add", person.email, stdin=person.password + "\n")
    if entitled:
        store.command("grant", person.email, "apps", PAID, "--verbs", "download,upgrade")
    store.settle()
    person.has_account = True
    person.flatpak("remote-add", f"--gpg-import={key.public}", "shop", store.repo_url("apps"))
    person.run("flatpass-authenticator", "login", store.url)
    return person


def install(person: Person, app: str, check: bool = True) -> str:
    said = person.flatpak("install", "-y", "--noninteractive", "shop", app, check=check).stdout
    return re.sub(r"(?m)^(dbus-daemon|\*\*).*\n?", "", said)


def story(scene: Scene) -> None:
    key, school = Key(scene.folder / "key"), School(scene)
    try:
        tell_it(scene, school, key)
    finally:
        school.end()
        key.end()


def tell_it(scene: Scene, school: School, key: Key) -> None:
    store = scene.store
    tell("1. A store sells an app; its repository is signed. A school has many machines and one thin line.")
    repo = Repo(scene.folder / "repo", key)
    repo.export_runtime()
    repo.export_app(FREE, "free, version 1")
    repo.export_app(PAID, "paid, version 1", token_type=MUST_BE_BOUGHT, locale=True)
    repo.name_authenticator(store.url)
    store.command("repo", "add", "apps", str(repo.path), "--policy", "objects")
    store.command("app", "price", "apps", PAID, "5.00", "EUR")
    store.start()
    school.begin()
    if not school.real:
        show(f"(All on one network: {networks.reason_not_to()}.)")

    tell("2. The school's server becomes a peer: its account may carry the apps on, and the store's public keys are pinned.")
    peer = Office(scene.folder / "office", store, place=school.places.get("peer"))
    known = peer.status()
    show(f"{known['repo_url']}, policy {known['policy']}; keys: {', '.join(known['keys'])}")
    peer.start()
    scene.beside(peer)

    tell("3. Ann has a licence. She lets her remote use the peer: files from there, the list of apps from the store.")
    ann = pupil(school, "ann", key, entitled=True)
    show(ann.run("flatpass-authenticator", "peers", "on", "--peer", school.peer_url("ann"), "shop").stdout)
    show(install(ann, PAID))
    show(f"$ flatpak run {PAID}\n{ann.run('flatpak', 'run', PAID).stdout}")
    must(peer.has(app_ref(PAID)), "the app did not come by the peer")
    install(ann, FREE)

    tell("4. The peer fetched it once and keeps it; every object was compared with its checksum.")
    status = peer.status()
    show(f"{status['files']} files, {status['bytes']} bytes: " + ", ".join(one["ref"] for one in status["commits"]))

    tell("5. Bob has no licence. His machine uses the peer in place of the store.")
    bob = pupil(school, "bob", key, entitled=False)
    show(bob.run("flatpass-authenticator", "peers", "on", "--alone", "--peer", school.peer_url("bob"), "shop").stdout)

    tell("6. The line is cut. What is free still installs, from the peer alone, its signature checked.")
    school.cut()
    show(install(bob, FREE))
    show(f"$ flatpak run {FREE}\n{bob.run('flatpak', 'run', FREE).stdout}")

    tell("7. The paid app does not: the peer has it, checks tokens offline, and Bob has none.")
    refused = install(bob, PAID, check=False)
    show(refused)
    must("Failed to get tokens" in refused, "bob was not refused")

    tell("8. Back to the store, as if nothing had been: off takes out exactly what on put in.")
    show(bob.run("flatpass-authenticator", "peers", "off").stdout)
    config = (Path(bob.env["XDG_DATA_HOME"]) / "flatpak" / "repo" / "config").read_text()
    must(f"url={store.repo_url('apps')}\n" in config and "flatpass" not in config.replace("org.flatpass", ""), "something was left behind")


if __name__ == "__main__":
    play("The classroom's shop", story)
