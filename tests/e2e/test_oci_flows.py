"""What people see with apps in a container registry: stock flatpak with its own authenticator and with ours, and registries that lie."""

import base64
import datetime
import json
import os
import time

import pytest

from stage.detour import Answer, Host, Seen, Storehouse
from stage.images import Images, Login, repository
from stage.oci_shop import OciShop
from stage.person import STAGE, Person, answer_yes
from stage.plain_index import PlainIndex
from stage.repo import FREE, PAID, RUNTIME, app_ref
from stage.store import Store, programs

OCI_AUTH = ".config/flatpak/oci-auth.json"
OURS = "org.flatpass.Authenticator"
PAID_IMAGE = repository(app_ref(PAID), "shop")
FREE_IMAGE = repository(app_ref(FREE), "shop")


class Market(OciShop):
    """With people."""

    def __init__(self, folder, images: Images, **how):
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
        wait_for(lambda: refs(self).get(app_ref(PAID)) == digest, self)

    def end(self) -> None:
        for person in self._people:
            person.leave()
        super().end()


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


@pytest.fixture(scope="module")
def lying_market(tmp_path_factory, images):
    market = Market(tmp_path_factory.mktemp("lying"), images, behind_detour=True)
    yield market
    market.end()


@pytest.fixture
def lying(lying_market):
    yield lying_market
    lying_market.detour.change = lambda _, answer: answer


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
    market.registry.start()
    bob.flatpak("install", "-y", "shop", PAID)


# Registries that lie, and a client that must not believe them.


def other_byte(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]


@pytest.mark.parametrize("what", ["manifests", "blobs"])
@pytest.mark.parametrize("app", [FREE, PAID])
def test_a_registry_that_changes_a_byte_is_found_out_and_nothing_is_installed(lying, what, app):
    bob = lying.customer(f"bob-{what}-{app[-4:].lower()}", PAID)
    bob.flatpak("install", "-y", "shop", RUNTIME)

    def change(seen: Seen, answer: Answer) -> Answer:
        if seen.method == "GET" and f"/{what}/" in seen.path and app.lower() + "/" in seen.path and answer.status == 200:
            return Answer(200, answer.headers, other_byte(answer.body))
        return answer

    lying.detour.change = change
    told = refused(bob, "install", "--noninteractive", "-y", "shop", app)
    assert "Checksum for digest" in told, told
    assert f"{app}/" not in installed(bob)
    assert not (bob.home / f".local/share/flatpak/app/{app}").exists()
    # With another registry in its place nothing of it is left.
    lying.detour.change = lambda _, answer: answer
    bob.flatpak("install", "-y", "shop", app)
    assert f"{app}/" in installed(bob)


def test_blobs_that_lie_on_another_host_are_fetched_without_credentials(lying, images):
    store = Storehouse(images.layout)
    bob, stock = lying.customer("bob-elsewhere", PAID), lying.person("stock-elsewhere", authenticator=None)
    write_auth(stock, lying.registry_host, lying.account("stock-elsewhere", PAID))

    def change(seen: Seen, answer: Answer) -> Answer:
        if seen.method == "GET" and "/blobs/" in seen.path and answer.status == 200:
            return Answer(307, {"Location": store.url(seen.path.rsplit("/", 1)[1])}, b"")
        return answer

    lying.detour.change = change
    try:
        for person in (bob, stock):
            lying.detour.seen.clear()
            store.seen.clear()
            person.flatpak("install", "-y", "shop", PAID)
            assert "paid, version 1" in person.run("flatpak", "run", PAID).stdout
            assert any(seen.authorization for seen in lying.detour.seen if PAID_IMAGE in seen.path), "the registry gets the token"
            assert store.seen and not any(seen.authorization for seen in store.seen), store.seen
        # The store itself, when it reads the images' configurations anew.
        lying.detour.seen.clear()
        store.seen.clear()
        lying.store.stop()
        forget_catalogues(lying)
        lying.store.start()
        wait_for(lambda: app_ref(PAID) in refs(lying), lying)
        assert any(seen.authorization for seen in lying.detour.seen), lying.detour.seen
        assert store.seen and not any(seen.authorization for seen in store.seen), store.seen
    finally:
        store.end()


def test_manifests_without_an_end_do_not_keep_the_store_from_the_other_images(lying):
    def change(seen: Seen, answer: Answer) -> Answer:
        if f"/{PAID_IMAGE}/manifests/" in seen.path and answer.status == 200:
            return Answer(200, answer.headers, b"", endless=True)
        return answer

    lying.detour.change = change
    lying.store.stop()
    forget_catalogues(lying)
    lying.store.start()
    wait_for(lambda: app_ref(FREE) in refs(lying), lying)
    assert app_ref(PAID) not in refs(lying)
    assert "more than" in lying.store.log(), lying.store.log()
    ann = lying.person("endless")
    ann.flatpak("install", "-y", "shop", FREE)
    lying.detour.change = lambda _, answer: answer
    lying.store.stop()
    forget_catalogues(lying)
    lying.store.start()
    wait_for(lambda: app_ref(PAID) in refs(lying), lying)


class Endless(Host):
    """A registry that sends people to a token server whose answer has no end."""

    def answer(self, seen: Seen, body: bytes) -> Answer:
        if seen.path.startswith("/token"):
            return Answer(200, {"Content-Type": "application/json"}, b"", endless=True)
        challenge = f'Bearer realm="http://{self.host}/token",service="{self.host}"'
        return Answer(401, {"WWW-Authenticate": challenge, "Content-Type": "application/json"}, b"", endless=seen.method != "HEAD")


def test_a_token_servers_answer_without_an_end_stops_no_authenticator(lying, images):
    registry = Endless()
    plain = PlainIndex(images.layout, f"http://{registry.host}/", "shop")
    try:
        ann = lying.person("patient")
        ann.flatpak("remote-add", f"--authenticator-name={OURS}", "plain", plain.url)
        told = refused(ann, "install", "--noninteractive", "-y", "plain", FREE)
        assert "Failed to get tokens for ref" in told and registry.host in told, told
        wait_for(lambda: registry.endless_bytes, lying)
        assert max(registry.endless_bytes) < 32 * 1024 * 1024, registry.endless_bytes
        ann.flatpak("install", "-y", "shop", FREE)
    finally:
        plain.end()
        registry.end()


def refs(market: Market) -> dict[str, str]:
    """The digest for each ref that the store lists."""
    status, _, body = market.store.get("repo/images/index/static")
    results = json.loads(body)["Results"] if status == 200 else []
    return {image["Labels"]["org.flatpak.ref"]: image["Digest"] for result in results for image in result["Images"]}


def wait_for(condition, market: Market, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, market.store.log()
        time.sleep(0.05)


def forget_catalogues(market: Market) -> None:
    """So that a store that is stopped reads everything anew."""
    kept = list(market.store.folder.rglob("*.registry"))
    assert kept
    for file in kept:
        file.unlink()


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
        wait_for(lambda: app_ref(PAID) in refs(self), self)
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
