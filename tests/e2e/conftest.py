"""What each end-to-end test stands on: a store with a small repo, and people with clients."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stage import repo as repos  # noqa: E402
from stage.passage import Passage  # noqa: E402
from stage.person import Person  # noqa: E402
from stage.store import Store, programs  # noqa: E402


class World:
    """One store with the repo `apps`, and as many people as a test asks for."""

    def __init__(self, folder: Path, template: repos.Repo, policy: str = "refs", mirror: str | None = None):
        self.folder = folder
        self.repo = template.copy_to(folder / "repo")
        self.store = Store(folder / "store", programs())
        self.repo.name_authenticator(self.store.url)
        more = ["--url", mirror] if mirror else []
        self.store.command("repo", "add", "apps", str(self.repo.path), "--policy", policy, *more)
        self.store.command("app", "price", "apps", repos.PAID, "5.00", "EUR")
        self.store.command("app", "price", "apps", repos.SIBLING, "20.00", "EUR")
        self._people: list[Person] = []

    def start(self) -> "World":
        self.store.start()
        return self

    def person(self, name: str, remote: str | None = "shop") -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        if remote:
            person.flatpak("remote-add", "--no-gpg-verify", remote, self.store.repo_url("apps"))
        return person

    def customer(self, name: str) -> Person:
        """Somebody who has signed in and bought the paid app, and has it installed."""
        person = self.person(name)
        code, text = person.install_at_terminal("shop", repos.PAID)
        assert code == 0, text + person.session_log() + self.store.log()
        person.pages_seen()
        person.has_account = True
        person.browser_will("buy")
        return person

    def end(self) -> None:
        for person in self._people:
            person.leave()
        self.store.kill()


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> repos.Repo:
    return repos.small_repo(tmp_path_factory.mktemp("template") / "repo")


@pytest.fixture
def closed_world(tmp_path, template):
    """A store that has not been started yet."""
    world = World(tmp_path, template)
    yield world
    world.end()


@pytest.fixture
def world(closed_world):
    return closed_world.start()


@pytest.fixture
def private_world(tmp_path, template):
    world = World(tmp_path, template, policy="private")
    world.start()
    yield world
    world.end()


@pytest.fixture
def mirrored_world(tmp_path, template):
    """A store whose repo clients also have under a mirror's URL, `world.mirror.url + "repo/apps"`; it notes the requests."""
    mirror = Passage()
    world = World(tmp_path, template, mirror=mirror.url + "repo/apps")
    world.mirror = mirror
    mirror.lead_to(world.store.port)
    world.start()
    yield world
    mirror.close()
    world.end()
