"""Selling from a hosted registry: it knows accounts of its own, and the store has one of them.

The host is a second store with Debian's docker-registry: to the first one its tokens are somebody else's.
"""

import json
import time
import urllib.request

import pytest

from stage.images import Images, Login, repository
from stage.oci_shop import OciShop
from stage.person import Person
from stage.registry import Htpasswd, Registry
from stage.repo import FREE, PAID, app_ref
from stage.store import Store, programs

AUTHENTICATOR = "flatpass-authenticator"
REFS = [app_ref(FREE), app_ref(PAID)]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


class HostedShop:
    """A store whose repo `apps` is at a host where it has an account."""

    def __init__(self, folder, images: Images):
        self.folder = folder
        self.host = OciShop(folder / "host", images).start()
        self.account = self.host.account("shop", "*")
        self.store = Store(folder / "store", programs())
        names = [option for ref in images.layout.refs() for option in ("--repository", repository(ref, "shop"))]
        self.store.command("repo", "add", "apps", self.host.registry.source("shop"), "--robot", self.account.user, *names,
                           stdin=self.account.password + "\n")
        self.store.command("app", "price", "apps", PAID, "5.00", "EUR")
        self._people: list[Person] = []

    def start(self) -> "HostedShop":
        self.store.start()
        self.soon("the images are seen", lambda: "not_found" not in self.reasons().values() and len(self.reasons()) < 2)
        return self

    def soon(self, what: str, is_so) -> None:
        deadline = time.monotonic() + 20
        while not is_so():
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.store.log()}"
            time.sleep(0.05)

    def ref_tokens(self, *refs: str) -> dict:
        return ref_tokens(self.store, "apps", *(refs or REFS))

    def reasons(self) -> dict[str, str]:
        return {one["ref"]: one["reason"] for one in self.ref_tokens()["denied"]}

    def person(self, name: str) -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        person.run(AUTHENTICATOR, "remote-add", "--user", self.store.repo_url("apps").removeprefix("http://").replace("/repo/", "/"), "shop")
        return person

    def end(self) -> None:
        for person in self._people:
            person.leave()
        self.store.kill()
        self.host.end()


def ref_tokens(store: Store, repo: str, *refs: str) -> dict:
    body = json.dumps({"repo_url": store.repo_url(repo), "refs": [{"ref": ref} for ref in refs]}).encode()
    request = urllib.request.Request(store.url + "api/v1/ref-tokens", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture
def shop(tmp_path, images):
    shop = HostedShop(tmp_path, images)
    yield shop
    shop.end()


def test_an_app_is_bought_and_comes_with_the_hosts_own_token(shop):
    shop.start()
    ann = shop.person("ann")
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    assert not ann.pages_seen(), "nobody is asked for what is free"
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + shop.store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout

    # The token is the host's, and for one repository.
    answer = shop.ref_tokens()
    assert answer["registry"] == shop.host.registry.url and [one["ref"] for one in answer["denied"]] == [app_ref(PAID)]
    [free] = answer["tokens"]
    assert free["refs"] == [app_ref(FREE)] and 150 <= free["expires_in"] <= 300
    get = lambda ref: shop.host.registry.manifest(repository(ref, "shop"), "stable", token=free["token"])[0]
    assert (get(app_ref(FREE)), get(app_ref(PAID))) == (200, 401)
    # The account's password is in no file and no line.
    shop.store.stop()
    secret = shop.account.password.encode()
    for file in [*shop.store.folder.rglob("*"), shop.store.folder.with_name("store.log"), *(shop.folder / "people").rglob("*")]:
        assert not (file.is_file() and secret in file.read_bytes()), file


def test_who_has_no_right_any_more_is_told_when_it_ended(shop):
    shop.start()
    bob = shop.person("bob")
    shop.store.command("account", "add", bob.email, stdin=bob.password + "\n")
    bob.has_account = True
    bob.browser_will("sign-in")
    bob.run(AUTHENTICATOR, "login", shop.store.url)
    until = time.time() + 2
    shop.store.command("grant", bob.email, "apps", PAID, "--until", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until)))
    while time.time() <= until + 1:
        time.sleep(0.1)
    told = bob.flatpak("install", "-y", "--noninteractive", "shop", PAID, check=False)
    assert told.returncode != 0 and "ended on" in told.stdout, told.stdout


def test_a_host_that_is_down_costs_a_sentence_and_holds_up_nobody(shop):
    shop.start()
    ann = shop.person("ann")
    shop.host.registry.stop()
    shop.store.restart()  # with no token left
    told = ann.flatpak("install", "-y", "shop", FREE, check=False)
    assert told.returncode != 0 and "cannot be reached. Try again later" in told.stdout, told.stdout
    shop.host.registry.start()
    shop.soon("it goes on", lambda: ann.flatpak("install", "-y", "shop", FREE, check=False).returncode == 0)

    # Its token server is down, the registry is not: what was fetched serves on.
    shop.host.store.kill()
    assert shop.ref_tokens()["tokens"]
    shop.store.restart()
    [denied] = [one for one in shop.ref_tokens()["denied"] if one["ref"] == app_ref(FREE)]
    assert denied["reason"] == "unavailable" and "Try again later" in denied["message"]


def test_a_wrong_password_is_told_to_who_runs_the_store_and_mended_by_a_new_one(shop):
    shop.start()
    shop.store.command("repo", "set", "apps", "--robot", "shop", stdin="fpt_not_the_password_of_it\n")
    assert shop.reasons()[app_ref(FREE)] == "unavailable"
    ann = shop.person("ann")
    told = ann.flatpak("install", "-y", "shop", FREE, check=False)
    assert told.returncode != 0 and "no token for it. Ask whoever runs the store" in told.stdout, told.stdout
    log = shop.store.log()
    assert "flatpass repo set --robot" in log and "not_the_password" not in log
    checked = shop.store.command("repo", "check", "apps", check=False)
    assert checked.returncode == 3 and "not_the_password" not in checked.stdout + checked.stderr
    shop.store.command("repo", "set", "apps", "--robot", "shop", stdin=shop.account.password + "\n")
    assert app_ref(FREE) not in shop.reasons()
    assert shop.store.command("repo", "check", "apps").returncode == 0
    ann.flatpak("install", "-y", "shop", FREE)


def test_a_registry_that_knows_passwords_only_cannot_be_sold_from_and_says_so(tmp_path, images):
    registry = Registry(tmp_path / "registry", Htpasswd({"shop": "long enough a password"})).start()
    store = Store(tmp_path / "store", programs())
    try:
        for ref in REFS:
            images.layout.push(ref, registry.host, repository(ref, "shop"), Login("shop", "long enough a password"))
        store.command("repo", "add", "apps", registry.source("shop"), "--robot", "shop", stdin="long enough a password\n")
        store.start()
        deadline = time.monotonic() + 20
        while "unavailable" not in (answer := json.dumps(ref_tokens(store, "apps", app_ref(FREE)))):
            assert time.monotonic() < deadline, answer + store.log()
            time.sleep(0.05)
        assert "takes passwords only" in answer and "long enough" not in answer
        assert "takes passwords only" in store.log() and "long enough" not in store.log()
        checked = store.command("repo", "check", "apps", check=False)
        assert checked.returncode == 3 and "passwords only" in checked.stdout and "--access realm" in checked.stdout, checked.stdout
    finally:
        store.kill()
        registry.stop()
