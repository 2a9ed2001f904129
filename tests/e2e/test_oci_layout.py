"""An image layout on the disk as a registry of the store's own: with skopeo, and with flatpak and its authenticators."""

import json
import shutil
import subprocess

import pytest

from stage.images import Images, Layout, Login, skopeo
from stage.person import Person
from stage.repo import FREE, PAID, app_ref
from stage.store import Store, programs

ANN = "ann@example.org"


class Shop:
    """A store with the images of `stage.images` as the repo `apps`."""

    def __init__(self, folder, template: Images, policy: str):
        self.folder = folder
        self.images = template.copy_to(folder / "images")
        self.store = Store(folder / "store", programs())
        self.store.command("repo", "add", "apps", f"oci-layout:{self.images.layout.path}", "--policy", policy)
        self.store.command("app", "price", "apps", PAID, "5.00", "EUR")
        self.store.command("account", "add", ANN, stdin="correct horse battery\n")
        self.store.start()
        self.host = f"127.0.0.1:{self.store.port}"
        self._people: list[Person] = []

    def person(self, name: str) -> Person:
        self._people.append(Person(self.folder / "people", name, programs()))
        return self._people[-1]

    def member(self, name: str, *apps: str) -> Person:
        """Somebody with an account who may have these apps."""
        person = self.person(name)
        self.store.command("account", "add", person.email, stdin=person.password + "\n")
        for app in apps:
            self.store.command("grant", person.email, "apps", app)
        self.store.settle()
        person.has_account = True
        return person

    def end(self) -> None:
        for person in self._people:
            person.leave()
        self.store.kill()

    def secret(self, email: str = ANN) -> Login:
        """What somebody logs in with: any user name, and an access token."""
        return Login("whoever", self.store.json("access-token", "add", email, "apps", "--name", "skopeo")["secret"])

    def skopeo(self, command: str, app: str, *argv: str, login: Login | None = None, tag: str = ":stable"):
        image = f"docker://{self.host}/apps/{app.lower()}{tag}"
        side = "src-" if command == "copy" else ""
        options = [f"--{side}tls-verify=false", *(login.options(side) if login else [])]
        return skopeo(self.folder / "skopeo", command, *options, image, *argv, check=False)

    def pull(self, app: str, login: Login | None = None) -> subprocess.CompletedProcess:
        """Copies an image and makes sure that it is the one that was published."""
        target = Layout(self.folder / "pulled")
        shutil.rmtree(target.path, ignore_errors=True)
        done = self.skopeo("copy", app, f"oci:{target.path}:it", login=login)
        if done.returncode == 0:
            assert target.digest("it") == self.images.layout.digest(app_ref(app))
        return done


@pytest.fixture(scope="session")
def images_template(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def open_shop(tmp_path, images_template):
    """With a shop of any policy; it ends with the test."""
    shops = []

    def open_it(policy: str) -> Shop:
        shops.append(Shop(tmp_path / policy, images_template, policy))
        return shops[-1]

    yield open_it
    for shop in shops:
        shop.end()


def test_a_free_image_is_anybodys_and_a_paid_one_who_has_it(open_shop):
    shop = open_shop("refs")
    assert shop.pull(FREE).returncode == 0
    refused = shop.pull(PAID)
    assert refused.returncode != 0 and "needs an account" in refused.stderr, refused.stderr
    ann = shop.secret()
    assert shop.pull(FREE, ann).returncode == 0
    refused = shop.pull(PAID, ann)
    assert refused.returncode != 0 and "has not bought org.test.Paid" in refused.stderr, refused.stderr
    shop.store.command("grant", ANN, "apps", PAID)
    shop.store.settle()
    assert shop.pull(PAID, ann).returncode == 0
    assert json.loads(shop.skopeo("list-tags", PAID, login=ann, tag="").stdout)["Tags"] == ["stable"]
    refused = shop.pull(FREE, Login("ann", "fpt_guessed"))
    assert refused.returncode != 0, "a wrong password is told, not taken for nobody's"
    shop.store.command("revoke", ANN, "apps", PAID)
    shop.store.settle()
    refused = shop.pull(PAID, ann)
    assert refused.returncode != 0, refused.stdout


def test_logging_in_says_whether_the_secret_is_good(open_shop):
    shop = open_shop("private")
    good = shop.secret()
    for password, code in ((good.password, 0), ("fpt_guessed", 1)):
        done = skopeo(shop.folder / "skopeo", "login", "--tls-verify=false", "--username", "x", "--password", password,
                      shop.host, check=False)
        assert (done.returncode != 0) == bool(code), done.stderr
    shop.store.command("grant", ANN, "apps", PAID)
    shop.store.settle()
    done = skopeo(shop.folder / "skopeo", "login", "--tls-verify=false", "--username", "x", "--password", good.password, shop.host)
    assert shop.pull(PAID).returncode == 0, "skopeo remembers the login"


def test_a_private_layout_shows_each_what_is_theirs(open_shop):
    shop = open_shop("private")
    for app in (FREE, PAID, "org.test.None"):
        refused = shop.skopeo("list-tags", app, tag="")
        assert refused.returncode != 0
    ann = shop.secret()
    for app in (FREE, PAID):
        assert shop.pull(app, ann).returncode != 0
    shop.store.command("grant", ANN, "apps", PAID)
    shop.store.settle()
    assert shop.pull(PAID, ann).returncode == 0
    assert shop.pull(FREE, ann).returncode != 0
    assert json.loads(shop.skopeo("list-tags", PAID, login=ann, tag="").stdout)["Tags"] == ["stable"]
    assert shop.skopeo("list-tags", FREE, login=ann, tag="").returncode != 0


def test_a_new_version_and_a_new_app_are_served_at_once(open_shop):
    shop = open_shop("refs")
    first = json.loads(shop.skopeo("inspect", FREE).stdout)["Digest"]
    second = shop.images.export(FREE, "free, version 2")
    shop.images.export("org.test.New", "brand new")
    shop.store.settle()
    found = json.loads(shop.skopeo("inspect", FREE).stdout)["Digest"]
    assert first != second == found
    assert shop.pull(FREE).returncode == 0
    assert shop.pull("org.test.New").returncode == 0
    # An index that cannot be read changes nothing, and is taken up when it can.
    index = shop.images.layout.path / "index.json"
    good = index.read_text()
    index.write_text(good[:-20])
    shop.store.settle()
    assert "the images cannot be read" in shop.store.log()
    assert json.loads(shop.skopeo("inspect", FREE).stdout)["Digest"] == second
    index.write_text(good)
    shop.images.export("org.test.Newer", "newer still")
    for _ in range(8):  # what could not be read is read again a few seconds later
        shop.store.settle()
        if shop.pull("org.test.Newer").returncode == 0:
            return
    raise AssertionError("the new app is not served: " + shop.store.log())


def test_a_registry_does_not_serve_what_is_not_what_it_says(open_shop):
    shop = open_shop("refs")
    layer = shop.images.layout.blob(shop.images.layout.layer(app_ref(FREE)))
    good = layer.read_bytes()
    layer.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused = shop.pull(FREE)
    assert refused.returncode != 0 and "500" in refused.stderr, refused.stderr
    assert "a blob of the layout is damaged" in shop.store.log()
    layer.write_bytes(good)
    shop.store.settle()
    assert shop.pull(FREE).returncode == 0


def test_flatpak_installs_what_is_free_without_an_account_and_buys_what_is_not(open_shop):
    shop = open_shop("refs")
    ann = shop.person("ann")
    ann.run("flatpass-authenticator", "remote-add", "--user", shop.store.repo_url("apps"), "shop")
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    assert not ann.pages_seen()
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + shop.store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    assert "paid" in ann.run("flatpak", "list", "--columns=application").stdout.lower()
    ann.pages_seen()
    shop.images.export_paid("paid, version 2")
    shop.store.settle()
    ann.flatpak("update", "-y")
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    assert not ann.pages_seen(), "an update asks for nothing"


def test_flatpak_with_its_own_authenticator_installs_what_is_open(open_shop):
    shop = open_shop("refs")
    ann = shop.person("ann")
    ann.flatpak("remote-add", "--no-gpg-verify", "shop", f"oci+{shop.store.repo_url('apps')}")
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    refused = ann.flatpak("install", "-y", "shop", PAID, check=False)
    assert refused.returncode != 0
    # It knows the credentials of container tools.
    shop.store.command("grant", ANN, "apps", PAID)
    login = shop.secret()
    shop.store.settle()
    ann.run("skopeo", "login", "--tls-verify=false", "--username", "ann", "--password", login.password, shop.host)
    ann.flatpak("install", "-y", "shop", PAID)
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout


def test_a_member_of_a_private_layout_sees_and_installs_what_is_theirs(open_shop):
    shop = open_shop("private")
    bob = shop.member("bob", PAID, "org.test.Platform")
    bob.run("flatpass-authenticator", "remote-add", "--user", shop.store.repo_url("apps"), "shop")
    listed = bob.flatpak("remote-ls", "--columns=application", "shop").stdout.split()
    assert PAID in listed and FREE not in listed, listed
    bob.flatpak("install", "-y", "shop", PAID)
    assert "paid, version 1" in bob.run("flatpak", "run", PAID).stdout
    stranger = shop.person("eve")
    stranger.flatpak("remote-add", "--no-gpg-verify", "shop", f"oci+{shop.store.repo_url('apps')}", check=False)
    refused = stranger.flatpak("remote-ls", "shop", check=False)
    assert refused.returncode != 0, refused.stdout
