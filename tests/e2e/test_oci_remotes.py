"""Remotes of a store whose apps are in a container registry: public, private by a path secret, and over the bridge."""

import re

import pytest

from stage.images import Images
from stage.oci_shop import OciShop
from stage.person import Person
from stage.repo import FREE, PAID
from stage.store import Store, programs

from test_bridge import Bridge

AUTHENTICATOR = "flatpass-authenticator"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


class Shop(OciShop):
    """With people."""

    def __init__(self, folder, images: Images, policy: str):
        super().__init__(folder, images, policy)
        self._people: list[Person] = []
        self.start()

    def person(self, name: str) -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        return person

    def member(self, name: str) -> Person:
        """Somebody with an account who may have everything."""
        person = self.person(name)
        self.store.command("account", "add", person.email, stdin=person.password + "\n")
        self.store.command("grant", person.email, "images", "*")
        self.store.settle()
        person.has_account = True
        person.browser_will("buy")
        return person

    def end(self) -> None:
        for person in self._people:
            person.leave()
        super().end()


@pytest.fixture
def shop(tmp_path, images):
    shop = Shop(tmp_path, images, "refs")
    yield shop
    shop.end()


@pytest.fixture
def company(tmp_path, images):
    shop = Shop(tmp_path, images, "private")
    yield shop
    shop.end()


def config(person: Person) -> str:
    return (person.home / ".local/share/flatpak/repo/config").read_text()


def url(person: Person) -> str:
    return re.search(r"^url=(.*)$", config(person), re.MULTILINE)[1]


def test_an_image_is_bought_on_the_stores_page_and_downloaded_from_the_registry(shop):
    ann = shop.person("ann")
    ann.run(AUTHENTICATOR, "remote-add", "--user", shop.where, "shop")
    assert url(ann) == "oci+" + shop.store.repo_url("images")
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    assert not ann.pages_seen(), "nobody is asked for what is free"
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + shop.store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    refused = shop.person("bob")
    refused.flatpak("remote-add", "--authenticator-name=org.flatpass.Authenticator", "shop", url(ann))
    # The store is found at the remote's address, though the remote does not name it.
    told = refused.flatpak("install", "-y", "--noninteractive", "shop", PAID, check=False)
    assert told.returncode != 0 and f"login {shop.store.url}" in told.stdout, told.stdout


def test_a_private_index_opens_by_a_secret_in_the_remotes_path_that_rotates_and_ends(company):
    ann = company.member("ann")
    stranger = company.person("eve")
    stranger.flatpak("remote-add", "shop", "oci+" + company.store.repo_url("images"), check=False)
    assert "401" in stranger.flatpak("remote-ls", "shop", check=False).stdout
    added = ann.run(AUTHENTICATOR, "remote-add", "--user", company.where, "shop")
    assert "This device\u2019s secret" in added.stdout or "This device's secret" in added.stdout, added.stdout
    first = url(ann)
    assert first.startswith(f"oci+{company.store.url}i/") and first.endswith("/images"), first
    assert PAID in ann.flatpak("remote-ls", "--columns=application", "shop").stdout
    ann.flatpak("install", "-y", "shop", PAID)
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout

    ann.run(AUTHENTICATOR, "remote-rotate", "--user", "shop")
    second = url(ann)
    assert second != first
    assert PAID in ann.flatpak("remote-ls", "--columns=application", "shop").stdout
    assert company.store.get(index(company, first))[0] == 401
    assert company.store.get(index(company, second))[0] == 200
    ann.flatpak("update", "-y")
    removed = ann.run(AUTHENTICATOR, "remote-remove", "--user", "--force", "shop")
    assert "Its secret has ended" in removed.stdout, removed.stdout
    assert company.store.get(index(company, second))[0] == 401


def index(company: Shop, remote_url: str) -> str:
    """The index's path below the store."""
    return remote_url.removeprefix("oci+" + company.store.url) + "/index/static?architecture=amd64&os=linux&tag=latest"


def test_a_private_index_opens_over_the_bridge_with_no_secret_in_any_file(company):
    ann = company.member("ann")
    ann.run(AUTHENTICATOR, "remote-add", "--user", "--bridge", company.where, "shop")
    assert url(ann).startswith("oci+http://127.0.0.1:")
    running = Bridge(ann)
    try:
        assert PAID in ann.flatpak("remote-ls", "--columns=application", "shop").stdout
        ann.flatpak("install", "-y", "shop", PAID)
        assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    finally:
        running.end()


def test_a_machine_without_a_session_installs_from_a_private_registry_as_its_robot(company):
    box = company.person("box")
    company.store.command("robot", "add", "box")
    company.store.command("grant", "robot/box", "images", "*")
    file = box.home / "robot.toml"
    company.store.command("robot", "secret", "box", "--out", str(file))
    company.store.settle()
    box.run(AUTHENTICATOR, "remote-add", "--user", "--robot", str(file), company.where, "shop")
    run = [AUTHENTICATOR, "run", "--robot", str(file), "--", "flatpak"]
    box.run(*run, "install", "--user", "-y", "--noninteractive", "shop", PAID)
    assert PAID in box.flatpak("list").stdout


def test_an_image_layout_is_a_remote_like_any_other(tmp_path, images):
    store = Store(tmp_path / "store", programs())
    store.command("repo", "add", "images", f"oci-layout:{images.layout.path}", "--policy", "refs")
    store.command("app", "price", "images", PAID, "5.00", "EUR")
    store.start()
    ann = Person(tmp_path / "people", "ann", programs())
    try:
        ann.run(AUTHENTICATOR, "remote-add", "--user", store.repo_url("images"), "shop")
        assert url(ann) == "oci+" + store.repo_url("images")
        ann.flatpak("install", "-y", "shop", FREE)
        code, text = ann.install_at_terminal("shop", PAID)
        assert code == 0, text + ann.session_log() + store.log()
        assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    finally:
        ann.leave()
        store.kill()
