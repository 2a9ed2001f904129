"""Registry, token server and store over TLS, with certificates of a company's own authority: Debian's docker-registry and stock flatpak."""

import json
import ssl
import time

import pytest

from stage.authority import Authority
from stage.images import Images, Login
from stage.person import Person
from stage.plain_index import PlainIndex
from stage.registry import Htpasswd, Registry, Token
from stage.repo import FREE, PAID
from stage.store import Store, programs

OURS = "--authenticator-name=org.flatpass.Authenticator"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


class Company:
    """Servers that only who trusts the company's authority believes."""

    def __init__(self, folder, images: Images):
        self.folder = folder
        self.images = images
        self.authority = Authority(folder / "authority")
        self.registry = Registry(folder / "registry", tls=self.authority)
        self.index = PlainIndex(images.layout, self.registry.url, "shop")
        self._people: list[Person] = []

    def person(self, name: str) -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        person.env["SSL_CERT_FILE"] = str(self.authority.bundle)  # for skopeo
        person.flatpak("remote-add", OURS, "shop", self.index.url)
        return person

    def trusted_by(self, person: Person) -> None:
        """The person's authenticator is told whom to trust."""
        person.end_authenticator()
        person.run("dbus-update-activation-environment", f"FLATPASS_CA_FILE={self.authority.certificate}")

    def flatpak(self, person: Person, *argv: str, check: bool = True):
        return person.run(*self.authority.around("flatpak", "--user", *argv), check=check)

    def login(self, person: Person, login: Login) -> None:
        person.run("skopeo", "login", "-u", login.user, "--password-stdin", self.registry.host, stdin=login.password)

    def end(self) -> None:
        for person in self._people:
            person.leave()
        self.index.end()
        self.registry.stop()


@pytest.fixture
def company(tmp_path, images):
    company = Company(tmp_path, images)
    yield company
    company.end()


@pytest.fixture
def store(company):
    """A store, which is the token server of the company's registry; both over TLS."""
    store = Store(company.folder / "store", programs(), host="https://localhost")
    certificate, key = company.authority.vouch_for("store")
    store.set("tls", certificate=str(certificate), key=str(key))
    store.set("registries", certificates=str(company.authority.certificate), look_seconds=1)
    store.trusts = ssl.create_default_context(cafile=str(company.authority.certificate))
    added = store.json("repo", "add", "images", company.registry.source("shop"), "--policy", "refs")
    settings = added["registry"]["settings"]
    assert settings["realm"].startswith("https://localhost:"), settings
    certificates = company.folder / "flatpass.pem"
    certificates.write_text(store.command("repo", "certificates", "images").stdout)
    company.registry.auth = Token(settings["realm"], settings["service"], settings["issuer"], certificates)
    store.command("app", "price", "images", PAID, "5.00", "EUR")
    store.command("robot", "add", "ci")
    robot = Login("ci", store.json("robot", "secret", "ci")["secret"])
    store.command("repo", "role", "images", "robot/ci", "publisher")
    company.registry.start()
    store.start()
    company.images.layout.push_all(company.registry.host, "shop", robot)
    deadline = time.monotonic() + 20
    while f"images={len(company.images.layout.refs())}\n" not in store.log():
        assert time.monotonic() < deadline, store.log()
        time.sleep(0.05)
    store.settle()
    yield store
    store.kill()


def account(store: Store, name: str, *apps: str) -> Login:
    email = f"{name}@example.org"
    store.command("account", "add", email, stdin="correct horse battery\n")
    for app in apps:
        store.command("grant", email, "images", app)
    secret = store.json("access-token", "add", email, "images", "--name", "registry")["secret"]
    store.settle()
    return Login(name, secret)


def test_tokens_go_over_tls_to_who_is_vouched_for_and_to_nobody_else(company, store):
    ann = company.person("ann")
    login = account(store, "ann", PAID)
    # The authenticator has not been told whom to trust: nothing is sent, not even a question for a token.
    company.login(ann, login)
    refused = company.flatpak(ann, "install", "-y", "shop", PAID, check=False)
    assert refused.returncode != 0 and f"{company.registry.host} cannot be reached: " in refused.stdout, refused.stdout
    assert "certificate" in refused.stdout and "answer cannot be used" not in refused.stdout, refused.stdout
    company.trusted_by(ann)
    company.flatpak(ann, "install", "-y", "shop", PAID)
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    # Somebody without a sign-in gets what is free, by an anonymous token.
    bob = company.person("bob")
    company.trusted_by(bob)
    company.flatpak(bob, "install", "-y", "shop", FREE)
    refused = company.flatpak(bob, "install", "-y", "shop", PAID, check=False)
    assert f"Run `flatpass-authenticator registry login {company.registry.url}`" in refused.stdout, refused.stdout


def test_by_the_stores_own_index_everything_is_over_tls(company, store):
    ann = company.person("ann")
    company.trusted_by(ann)
    url = "oci+" + store.repo_url("images")
    company.flatpak(ann, "remote-add", OURS, "store", url)
    listed = company.flatpak(ann, "remote-ls", "--app", "--columns=application", "store").stdout.split()
    assert {FREE, PAID} <= set(listed), listed
    company.flatpak(ann, "install", "-y", "store", FREE)
    refused = company.flatpak(ann, "install", "-y", "--noninteractive", "store", PAID, check=False)
    assert refused.returncode != 0 and "sign in" in refused.stdout.lower(), refused.stdout


def test_a_registry_with_passwords_only_is_told_of_over_tls_too_and_gets_none(company):
    company.registry.auth = Htpasswd({"ann": "pw"})
    company.registry.start()
    ann = company.person("ann")
    company.trusted_by(ann)
    company.login(ann, Login("ann", "pw"))
    refused = company.flatpak(ann, "install", "-y", "shop", FREE, check=False)
    assert "(HTTP Basic), which Flatpak cannot send" in refused.stdout, refused.stdout
    log = [line for line in company.registry.log().splitlines() if "flatpass-authenticator" in line]
    assert log and all("auth.user.name" not in line for line in log), log
    told = ann.run("env", f"FLATPASS_CA_FILE={company.authority.certificate}", "flatpass-authenticator", "registry", "login",
                   company.registry.url, "--user", "ann", "--password-stdin", stdin="pw\n", check=False)
    assert told.returncode == 1 and "(HTTP Basic)" in told.stdout, told.stdout


def test_what_is_signed_in_by_hand_over_tls_is_kept_for_that_host_alone(company, store):
    login = account(store, "ann", PAID)
    ann = company.person("ann")
    company.trusted_by(ann)
    told = ann.run("env", f"FLATPASS_CA_FILE={company.authority.certificate}", "flatpass-authenticator", "registry", "login",
                   company.registry.url, "--user", "ann", "--password-stdin", stdin=login.password + "\n")
    assert "You are signed in to the registry" in told.stdout, told.stdout
    # Another registry of the company, which the index names now, is another one.
    other = Registry(company.folder / "other", tls=company.authority)
    other.auth = company.registry.auth
    other.more = {"storage": {"filesystem": {"rootdirectory": str(company.registry.folder / "storage")}}}
    other.start()
    try:
        company.index.registry = other.url
        refused = company.flatpak(ann, "install", "-y", "shop", PAID, check=False)
        assert f"registry login {other.url}`" in refused.stdout, refused.stdout
    finally:
        other.stop()
    company.index.registry = company.registry.url
    company.flatpak(ann, "install", "-y", "shop", PAID)
    listed = json.loads(ann.run("flatpass-authenticator", "registry", "list", "--json").stdout)
    assert [one["registry"] for one in listed["registries"]] == [company.registry.url], listed
