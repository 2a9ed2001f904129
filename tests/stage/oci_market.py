"""A store that sells what is in a registry that trusts it, and people with clients."""

import base64
import datetime
import json
import time
from pathlib import Path

from stage.images import Images, Login, repository
from stage.oci_shop import OciShop
from stage.person import Person
from stage.repo import PAID, app_ref
from stage.store import Store, programs

OCI_AUTH = ".config/flatpak/oci-auth.json"
OURS = "org.flatpass.Authenticator"


class Market(OciShop):
    """With people."""

    def __init__(self, folder: Path, images: Images, **how):
        super().__init__(folder, images, **how)
        self._people: list[Person] = []
        self.start()

    @property
    def registry_host(self) -> str:
        return (self.detour or self.registry).host

    def person(self, name: str, authenticator: str | None = OURS, *options: str) -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        named = [f"--authenticator-name={authenticator}"] if authenticator else []
        person.flatpak("remote-add", *named, *options, "shop", "oci+" + self.store.repo_url("images"))
        return person

    def customer(self, name: str, *apps: str) -> Person:
        """Somebody who has an account, may have these apps, and is signed in at the store."""
        person = self.person(name)
        self.account(name, *apps)
        person.has_account = True
        person.browser_will("sign-in")
        person.run("flatpass-authenticator", "login", self.store.url)
        person.browser_will("fail")
        return person

    def subscriber(self, name: str) -> Person:
        """With an account that has the paid app for a time; `ends` says when."""
        return self.customer(name, PAID)

    def ends(self, person: Person) -> None:
        """The subscription goes to its end."""
        self.store.command("revoke", person.email, "images", PAID)
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
        self.store.command("grant", person.email, "images", PAID, "--until", end.strftime("%Y-%m-%dT%H:%M:%SZ"))
        while datetime.datetime.now(datetime.timezone.utc) <= end:
            time.sleep(0.05)
        self.store.settle()
        person.end_authenticator()

    def publish(self, says: str) -> None:
        """A version of the paid app, which the store has seen when this is over."""
        digest = self.images.export_paid(says)
        for ref in self.images.layout.refs():
            if PAID in ref:
                self.images.layout.push(ref, self.registry.host, repository(ref, "shop"), login=self.publisher)
        self.store.restart()
        wait_for(lambda: refs(self.store).get(app_ref(PAID)) == digest, self.store)

    def end(self) -> None:
        for person in self._people:
            person.leave()
        super().end()


def refused(person: Person, *argv: str) -> str:
    done = person.flatpak(*argv, check=False)
    assert done.returncode != 0, done.stdout
    return done.stdout


def installed(person: Person) -> str:
    return person.flatpak("list", "--all", "--columns=ref").stdout


def write_auth(person: Person, host: str, login: Login, file: str = OCI_AUTH) -> None:
    """What Flatpak's own authenticator reads, as `podman login --authfile` writes it."""
    path = person.home / file
    path.parent.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def refs(store: Store) -> dict[str, str]:
    """The digest for each ref that the store lists."""
    status, _, body = store.get("repo/images/index/static")
    results = json.loads(body)["Results"] if status == 200 else []
    return {image["Labels"]["org.flatpak.ref"]: image["Digest"] for result in results for image in result["Images"]}


def wait_for(condition, store: Store, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, store.log()
        time.sleep(0.05)


def forget_catalogues(store: Store) -> None:
    """So that a store that is stopped reads everything anew."""
    kept = list(store.folder.rglob("*.registry"))
    assert kept
    for file in kept:
        file.unlink()
