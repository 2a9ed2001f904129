"""What people see with apps in a container registry: stock flatpak with its own authenticator and with ours, whoever runs the registry."""

import json
import os

import pytest

from stage.images import Images, Login, repository
from stage.oci_market import OCI_AUTH, OURS, Market, installed, refs, refused, wait_for, write_auth
from stage.person import STAGE, Person, answer_yes
from stage.plain_index import PlainIndex
from stage.repo import FREE, PAID, RUNTIME, app_ref
from stage.store import Store, programs

PAID_IMAGE = repository(app_ref(PAID), "shop")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def market(tmp_path_factory, images):
    """A registry that trusts the store, for all tests that break nothing."""
    market = Market(tmp_path_factory.mktemp("market"), images)
    yield market
    market.end()


@pytest.fixture
def moving_market(tmp_path):
    """One of its own, whose images change."""
    market = Market(tmp_path, Images(tmp_path / "images"))
    yield market
    market.end()


@pytest.fixture
def company(tmp_path, images):
    company = Market(tmp_path, images, policy="private")
    yield company
    company.end()


# Flatpak's own authenticator.


def test_with_flatpaks_own_authenticator_free_apps_need_no_account(market):
    ann = market.person("stock-free", authenticator=None)
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout


@pytest.mark.parametrize("file", ["flatpak", "podman", "docker"])
def test_with_flatpaks_own_authenticator_a_paid_app_opens_with_an_access_token_in_a_credential_file(market, file):
    name = f"stock-paid-{file}"
    ann, login = market.person(name, authenticator=None), market.account(name, PAID)
    if file == "podman":  # and skopeo, which writes the same file
        ann.run("skopeo", "login", "--tls-verify=false", "--username", login.user, "--password-stdin", market.registry.host,
                stdin=login.password)
    else:
        write_auth(ann, market.registry.host, login, {"docker": ".docker/config.json"}.get(file, OCI_AUTH))
    ann.flatpak("install", "-y", "shop", PAID)
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    assert PAID + ".Locale" in installed(ann)


def test_with_flatpaks_own_authenticator_strangers_read_what_the_store_says(market):
    eve = market.person("stock-stranger", authenticator=None)
    told = refused(eve, "install", "-y", "shop", PAID)
    assert PAID not in installed(eve)
    assert "needs an account" in told and f"{market.store.url}account" in told, told


def test_with_flatpaks_own_authenticator_who_has_not_bought_it_reads_where_to_buy_it(market):
    eve = market.person("stock-eve", authenticator=None)
    write_auth(eve, market.registry.host, market.account("stock-eve"))
    told = refused(eve, "install", "-y", "shop", PAID)
    assert PAID not in installed(eve)
    assert "has not bought" in told and f"/apps/images/{PAID}" in told, told


def test_with_flatpaks_own_authenticator_a_wrong_password_is_refused_in_a_sentence(market):
    eve = market.person("stock-wrong", authenticator=None)
    write_auth(eve, market.registry.host, Login("stock-wrong", "fpt_wrong"))
    told = refused(eve, "install", "-y", "shop", PAID)
    assert PAID not in installed(eve)
    assert "access token" in told, told


def test_with_flatpaks_own_authenticator_a_private_list_opens_by_its_path_until_the_secret_ends(company):
    ann = company.person("ann", authenticator=None)
    login = company.account("ann", FREE, RUNTIME)
    ann.run("skopeo", "login", "--tls-verify=false", "--username", login.user, "--password-stdin", company.registry.host,
            stdin=login.password)
    ann.flatpak("remote-add", "work", f"oci+{company.store.url}i/{login.password}/images")
    listed = ann.flatpak("remote-ls", "--columns=application", "work").stdout
    assert FREE in listed and PAID not in listed, "a list of her own"
    ann.flatpak("install", "-y", "work", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    told = refused(ann, "remote-ls", "shop")
    assert "401" in told, told  # the same repo without the secret
    (token,) = [one for one in company.store.json("access-token", "list") if one["email"] == ann.email]
    company.store.command("access-token", "revoke", token["id"])
    company.store.settle()
    told = refused(ann, "remote-ls", "work")
    assert "Unable to load summary from remote work: Server returned status 401" in told, told
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout


# Ours.


def test_who_has_not_bought_it_reads_where_to_buy_it_and_gets_nothing(market):
    eve = market.customer("eve")
    told = refused(eve, "install", "--noninteractive", "-y", "shop", PAID)
    assert "Your account has not bought" in told and f"{market.store.url}apps/images/{PAID}" in told, told
    assert PAID not in installed(eve)


def test_who_does_not_want_to_buy_it_gets_nothing_and_may_buy_it_later(market):
    ann = market.person("ann")
    ann.browser_will("decline")
    code, text = ann.install_at_terminal("shop", PAID)
    assert code != 0 and PAID not in installed(ann)
    ann.browser_will("buy")
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + market.store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout


def test_a_program_with_libflatpak_buys_an_image_in_the_browser(market):
    ann = market.person("gnome")
    ann.flatpak("install", "-y", "shop", RUNTIME)
    argv = ["/usr/bin/python3", str(STAGE / "gi_install.py"), "install", "shop", app_ref(PAID)]
    nobody = json.loads(ann.run(*argv, "--no-browser").stdout.splitlines()[-1])
    assert not nobody["ok"] and nobody["events"][0] == "webflow-start" and PAID not in installed(ann), nobody
    result = json.loads(ann.run(*argv).stdout.splitlines()[-1])
    assert result == {"ok": True, "events": ["webflow-start", "webflow-done"]}, (result, ann.session_log())
    assert any(line.startswith("buy: ") for line in ann.pages_seen())
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="without root flatpak asks a helper on the system's bus")
def test_a_system_wide_installation_buys_and_gets_the_image_too(market):
    ann = market.person("system")
    ann.run("flatpak", "--system", "remote-add", f"--authenticator-name={OURS}", "shop", "oci+" + market.store.repo_url("images"))
    code, text = answer_yes(ann.at_terminal("flatpak", "--system", "install", "shop", PAID))
    assert code == 0, text + ann.session_log() + market.store.log()
    assert PAID in ann.run("flatpak", "--system", "list", "--app").stdout and PAID not in installed(ann)
    ann.run("flatpak", "--system", "update", "-y", "--noninteractive")


def test_when_the_subscription_ends_the_version_stays_and_the_update_is_refused_in_a_sentence(moving_market):
    market = moving_market
    bob, stock = market.subscriber("bob"), market.person("stock", authenticator=None)
    write_auth(stock, market.registry.host, market.account("stock", PAID))
    for person in (bob, stock):
        person.flatpak("install", "-y", "shop", PAID)
        market.ends(person)
    market.publish("paid, version 2")
    told = refused(bob, "update", "--noninteractive")
    assert "Your right to" in told and "ended on" in told and f"/apps/images/{PAID}" in told, told
    told = refused(stock, "update", "--noninteractive")
    assert "Your right to" in told and "ended on" in told, told
    for person in (bob, stock):
        assert "paid, version 1" in person.run("flatpak", "run", PAID).stdout


def test_a_registry_that_is_down_is_named_and_what_is_installed_goes_on(moving_market):
    market = moving_market
    bob = market.subscriber("bob")
    bob.flatpak("install", "-y", "shop", FREE)
    market.registry.stop()
    told = refused(bob, "install", "--noninteractive", "-y", "shop", PAID)
    assert market.registry.host in told and "Couldn't connect" in told, told
    assert "free as can be" in bob.run("flatpak", "run", FREE).stdout
    assert PAID in bob.flatpak("remote-ls", "--columns=application", "shop").stdout, "the index is kept"
    stock = market.person("stock", authenticator=None)
    assert market.registry.host in refused(stock, "install", "--noninteractive", "-y", "shop", FREE)
    plain = PlainIndex(market.images.layout, market.registry.url, "shop")
    try:
        ann = market.person("ann")
        ann.flatpak("remote-add", f"--authenticator-name={OURS}", "plain", plain.url)
        told = refused(ann, "install", "--noninteractive", "-y", "plain", FREE)
        assert f"{market.registry.host} cannot be reached" in told, told
    finally:
        plain.end()
    market.registry.start()
    bob.flatpak("install", "-y", "shop", PAID)


# A registry with accounts and a token server of its own: here another store's, whose tokens mean nothing to the first.


class Hosted:
    """A store that sells what is in somebody else's registry, where it has an account that may pull."""

    def __init__(self, folder, images: Images):
        self.folder = folder
        self.hoster = Market(folder / "hoster", images, policy="private", behind_detour=True)
        self.hoster.store.command("robot", "add", "shop")
        self.hoster.store.command("grant", "robot/shop", "images", "*")
        self.password = self.hoster.store.json("robot", "secret", "shop")["secret"]
        self.hoster.store.settle()
        self.store = Store(folder / "store", programs())
        names = [name for ref in images.layout.refs() for name in ("--repository", repository(ref, "shop"))]
        file = folder / "password"
        file.write_text(self.password)
        source = self.hoster.detour.source("shop")
        self.store.command("repo", "add", "images", source, "--robot", "shop", "--password-file", str(file), *names)
        self.store.command("app", "price", "images", PAID, "5.00", "EUR")
        self.store.start()
        wait_for(lambda: app_ref(PAID) in refs(self.store), self.store)
        self._people: list[Person] = []

    def person(self, name: str) -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        person.run("flatpass-authenticator", "remote-add", "--user", self.store.repo_url("images"), "shop")
        return person

    def end(self) -> None:
        for person in self._people:
            person.leave()
        self.store.kill()
        self.hoster.end()


@pytest.fixture
def hosted(tmp_path, images):
    (tmp_path / "hoster").mkdir()
    hosted = Hosted(tmp_path, images)
    yield hosted
    hosted.end()


def test_a_hosted_registrys_own_token_opens_what_was_bought_and_the_stores_password_stays_with_the_store(hosted):
    ann = hosted.person("ann")
    told = refused(ann, "install", "--noninteractive", "-y", "shop", PAID)
    assert f"flatpass-authenticator login {hosted.store.url}" in told, told
    asked = hosted.hoster.detour.seen
    asked.clear()
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + hosted.store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    pulled = [seen for seen in asked if f"/{PAID_IMAGE}/" in seen.path and "flatpak" in seen.headers.get("user-agent", "").lower()]
    assert pulled and all(seen.authorization.startswith("Bearer ") for seen in pulled), asked
    assert all(hosted.password not in str(seen.headers) for seen in asked)
    assert not any(hosted.password.encode() in file.read_bytes() for file in ann.home.rglob("*") if file.is_file())
    # The hoster ends the store's account: who bought reads that it is not their fault, and keeps what they have.
    hosted.hoster.store.command("robot", "remove", "shop")
    hosted.hoster.store.settle()
    hosted.store.restart()
    ann.end_authenticator()
    ann.flatpak("uninstall", "-y", PAID)
    told = refused(ann, "install", "--noninteractive", "-y", "shop", PAID)
    assert f"its registry {hosted.hoster.detour.host} gives" in told and "Ask whoever runs the store" in told, told
    assert PAID + "/" not in installed(ann)
