"""The index of a registry that everybody may pull from, with the real flatpak: public, and private to members by a secret path."""

import base64
import gzip
import hashlib
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from stage.images import GO_ARCH, INDEX, MANIFEST, Images, Layout, Login, repository
from stage.person import Person
from stage.registry import Htpasswd, Notified, Registry
from stage.repo import FREE, PAID, RUNTIME, app_ref, arch
from stage.store import Store, programs, self_signed

STOCK = f"label%3Aorg.flatpak.ref%3Aexists=1&architecture={GO_ARCH[arch()]}&os=linux&tag=latest"  # what flatpak 1.14 asks for
LATEST = 15  # seconds in which a change must have been taken up


class Market:
    """A store with the repo `apps`, which is the namespace `shop` of docker-registry, and people."""

    def __init__(self, folder, images: Images, *options: str, look_seconds: int = 3600, webhook: bool = False,
                 private: bool = False, tls: bool = False):
        self.folder = folder
        self.private = private
        self.store = Store(folder / "store", programs(), host="https://localhost" if tls else "http://127.0.0.1")
        self.store.set("registries", look_seconds=look_seconds)
        if tls:
            certificate, key = self_signed(folder)
            self.store.set("tls", certificate=str(certificate), key=str(key), client_certificates=True)
            self.store.trusts = ssl.create_default_context(cafile=str(certificate))
        self.registry = Registry(folder / "registry").start()
        self.pushed = images.layout.push_all(self.registry.host, "shop")
        hook = ["--webhook"] if webhook else []
        added = self.store.json("repo", "add", "apps", self.registry.source("shop"), "--access", "none", *hook, *options)
        if webhook:
            told = added["webhook"]
            self.registry.notified = Notified(told["url"], {"Authorization": f"Bearer {told['secret']}"})
            self.registry.restart()
        self._people: list[Person] = []

    def start(self) -> "Market":
        self.store.start()
        self.until(lambda: "images are taken up" in self.store.log())
        if not self.private:
            self.until(self.listed)
        return self

    def index(self, prefix: str = "repo", query: str = STOCK, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.store.get(f"{prefix}/apps/index/static?{query}", headers)

    def listed(self) -> dict[str, str]:
        """The digest for each ref that strangers see."""
        status, _, body = self.index()
        return refs(body) if status == 200 else {}

    def until(self, condition) -> None:
        deadline = time.monotonic() + LATEST
        while not condition():
            assert time.monotonic() < deadline, self.store.log()
            time.sleep(0.05)

    def person(self, name: str, url: str | None = None) -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        if url:
            person.flatpak("remote-add", "shop", url)
        return person

    def member(self, name: str, *apps: str) -> tuple[Person, dict]:
        """Somebody who may have these apps, with the secret of their device in the path of the remote."""
        person = self.person(name)
        self.store.command("account", "add", person.email, stdin=person.password + "\n")
        for app in apps:
            self.store.command("grant", person.email, "apps", app)
        made = self.store.json("access-token", "add", person.email, "apps", "--name", "laptop")
        self.store.settle()
        assert made["url"] == oci(self.store.url) + f"i/{made['secret']}/apps"
        person.flatpak("remote-add", "shop", made["url"])
        return person, made

    def end(self) -> None:
        for person in self._people:
            person.leave()
        self.store.kill()
        self.registry.stop()


def oci(url: str) -> str:
    return "oci+" + url


def refs(index: bytes) -> dict[str, str]:
    found = {}
    for result in json.loads(index)["Results"]:
        for image in result["Images"] + [image for each in result["Lists"] for image in each["Images"]]:
            assert image["Labels"]["org.flatpak.ref"] not in found, "a ref that stands there twice"
            found[image["Labels"]["org.flatpak.ref"]] = image["Digest"]
    return found


def request(url: str, method: str, body: bytes | None = None, headers: dict[str, str] | None = None):
    """Status, headers (lower case) and body of the answer."""
    asked = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, {key.lower(): value for key, value in refused.headers.items()}, refused.read()


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Images:
    images = Images(tmp_path_factory.mktemp("images"))
    images.export(FREE, "free as can be", described=True)
    return images


@pytest.fixture
def market(tmp_path, images):
    markets = []

    def make(*options: str, **how) -> Market:
        markets.append(Market(tmp_path, images, *options, **how))
        return markets[-1].start()

    yield make
    for one in markets:
        one.end()


def newer(images: Images, folder, says: str) -> Layout:
    """A newer version of the free app, beside the images that all tests share."""
    repo = images.repo.copy_to(folder / "newer-source")
    repo.export_app(FREE, says, described=True)
    layout = Layout(folder / "newer")
    layout.add(repo, app_ref(FREE))
    return layout


def test_everybody_lists_searches_and_installs_what_is_free(market):
    here = market()
    assert here.listed() == here.pushed
    ann = here.person("ann")
    (ann.home / "apps.flatpakrepo").write_bytes(here.store.get("repos/apps.flatpakrepo")[2])
    ann.flatpak("remote-add", "--from", "shop", "apps.flatpakrepo")
    assert oci(here.store.repo_url("apps")) in ann.flatpak("remotes", "--columns=url").stdout
    assert "org.flatpass.Authenticator" in ann.run("cat", ".local/share/flatpak/repo/config").stdout
    assert {FREE, PAID, RUNTIME} <= set(ann.flatpak("remote-ls", "--all", "--columns=application", "shop").stdout.split())
    ann.flatpak("update", "--appstream", "shop")
    found = ann.flatpak("search", "--columns=application,remotes", "Free")
    assert FREE in found.stdout, found.stdout
    icons = list((ann.home / ".local/share/flatpak/appstream/shop").rglob(f"icons/64x64/{FREE}.png"))
    assert icons and icons[0].read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout


def test_a_push_is_seen_at_once_when_the_registry_tells_of_it(market, images, tmp_path):
    here = market(webhook=True)
    ann = here.person("ann", oci(here.store.repo_url("apps")))
    ann.flatpak("install", "-y", "shop", FREE)
    before = here.listed()
    new = newer(images, tmp_path, "free, version 2").push(app_ref(FREE), here.registry.host, repository(app_ref(FREE), "shop"))
    here.until(lambda: here.listed()[app_ref(FREE)] == new)
    assert {**before, app_ref(FREE): new} == here.listed()
    ann.flatpak("update", "-y")
    assert "free, version 2" in ann.run("flatpak", "run", FREE).stdout


def test_a_push_is_seen_at_the_next_look_and_a_registry_that_is_down_takes_nothing_away(market, images, tmp_path):
    here = market(look_seconds=1)
    ann = here.person("ann", oci(here.store.repo_url("apps")))
    ann.flatpak("install", "-y", "shop", FREE)
    new = newer(images, tmp_path, "free, version 2").push(app_ref(FREE), here.registry.host, repository(app_ref(FREE), "shop"))
    here.until(lambda: here.listed()[app_ref(FREE)] == new)
    ann.flatpak("update", "-y")
    assert "free, version 2" in ann.run("flatpak", "run", FREE).stdout
    here.registry.stop()
    here.until(lambda: "cannot be looked at" in here.store.log())
    assert here.listed()[app_ref(FREE)] == new
    # And after a restart of the store, with the registry still down.
    here.store.restart()
    assert here.listed()[app_ref(FREE)] == new
    done = ann.flatpak("install", "-y", "shop", PAID, check=False)
    assert done.returncode != 0 and "onnect" in done.stdout, done.stdout


def test_programs_get_validators_compression_and_plain_refusals(market):
    here = market()
    status, headers, body = here.index()
    assert status == 200 and headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-cache"
    status, again, nothing = here.index(**{"If-None-Match": headers["etag"]})
    assert (status, nothing, again["etag"]) == (304, b"", headers["etag"])
    status, packed, compressed = here.index(**{"Accept-Encoding": "gzip"})
    assert packed["content-encoding"] == "gzip" and packed["etag"] != headers["etag"]
    assert gzip.decompress(compressed) == body and len(compressed) < len(body)
    # What flatpak makes of it: the registry's own address, and icons beside the index.
    document = json.loads(body)
    assert document["Registry"] == here.registry.url
    free = next(result for result in document["Results"] if result["Name"] == repository(app_ref(FREE), "shop"))
    icon = free["Images"][0]["Labels"]["org.freedesktop.appstream.icon-64"]
    assert icon.startswith("../icons/") and icon.endswith(".png")
    status, headers, png = here.store.get(urllib.parse.urljoin("repo/apps/index/static", icon))
    assert (status, headers["content-type"]) == (200, "image/png") and png.startswith(b"\x89PNG")
    assert "immutable" in headers["cache-control"]
    dynamic = here.store.get(f"repo/apps/index/dynamic?repository={free['Name']}")
    assert [result["Name"] for result in json.loads(dynamic[2])["Results"]] == [free["Name"]]
    whole = here.index()
    status, headers, nothing = request(here.store.url + f"repo/apps/index/static?{STOCK}", "HEAD")
    assert (status, nothing, headers["etag"]) == (200, b"", whole[1]["etag"])
    assert int(headers["content-length"]) == len(whole[2])
    assert request(here.store.url + "repo/apps/index/static", "POST", b"x")[0] == 405
    for query in ("tag=%", "label:=1", "label:a:exists=2", "&".join(["tag=a"] * 40), "tag=" + "a" * 5000):
        status, headers, body = here.index(query=query)
        assert status == 400 and headers["content-type"] == "application/problem+json", query
    for path in ("index", "index/", "index/static/", "index/Static", "index/static%2f", "icons/", "icons/x.png",
                 "icons/" + "0" * 64 + ".png", "icons/../index/static", "summary", "config", "/index/static"):
        assert here.store.get(f"repo/apps/{path}")[0] == 404, path


def test_only_who_knows_the_webhooks_secret_is_heard(market):
    here = market(webhook=True)
    secret = here.registry.notified.headers["Authorization"]
    path = "api/v1/registry-events/"
    event = {"events": [{"action": "push", "target": {"repository": "shop/x"}}]}

    def tell(name: str, body: bytes, authorization: str | None) -> int:
        headers = {"Authorization": authorization} if authorization else {}
        return request(here.store.url + path + name, "POST", body, headers)[0]

    good = json.dumps(event).encode()
    assert tell("apps", good, secret) == 202
    for name, authorization in (("apps", None), ("apps", "Bearer wrong"), ("apps", "Basic d3Jvbmc6d3Jvbmc="), ("apps", "Bearer "),
                                ("nothing", secret), ("nothing", "Bearer "), ("apps", "Digest x"), ("apps", "Bearer")):
        assert tell(name, good, authorization) == 401, (name, authorization)
    for body in (b"", b"{", b"[]", b'{"events":1}', b'{"events":[{"action":1}]}', b"[" * 100_000, b"\xff\xfe"):
        assert tell("apps", body, secret) == 400, body[:20]
    assert tell("apps", b" " * 2_000_000, secret) == 413
    assert here.listed() == here.pushed


def test_a_private_index_shows_each_member_their_own_and_strangers_nothing(market):
    here = market("--policy", "private", private=True)
    ann, secret = here.member("ann", FREE, RUNTIME)
    bob, _ = here.member("bob", PAID)
    listed = lambda person: set(person.flatpak("remote-ls", "--all", "--columns=application", "shop").stdout.split())
    assert listed(ann) == {FREE, RUNTIME}
    assert listed(bob) == {PAID, f"{PAID}.Locale"}
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    ann.flatpak("update", "--appstream", "shop")
    assert FREE in ann.flatpak("search", "--columns=application", "Free").stdout
    assert list((ann.home / ".local/share/flatpak/appstream/shop").rglob(f"icons/64x64/{FREE}.png"))
    assert bob.flatpak("search", "--columns=application", "Free", check=False).stdout.count(FREE) == 0
    # The device is noted.
    here.store.settle()
    assert here.store.json("access-token", "list", ann.email)[0]["last_used_at"]

    # Somebody without a secret, or with a wrong one, is told what is said of repos that are not there.
    for path in ("{}/index/static", "{}/index/static?tag=%", "{}/icons/" + "0" * 64 + ".png", "{}/no-such-file", "{}/index/static/"):
        there, absent = (here.store.get(f"repo/{path.format(name)}") for name in ("apps", "absent"))
        assert there[0] == absent[0] == 401, path
        assert there[2] == absent[2] and alike(there[1]) == alike(absent[1], "absent"), path
        there, absent = (here.store.get(f"i/wrong/{path.format(name)}") for name in ("apps", "absent"))
        assert there[0] == absent[0] == 401, path
        assert there[2] == absent[2] and alike(there[1]) == alike(absent[1], "absent"), path
    eve = here.person("eve")
    for url in (here.store.repo_url("apps"), here.store.url + "i/wrong/apps"):
        eve.flatpak("remote-add", "--if-not-exists", "shop", oci(url), check=False)
        done = eve.flatpak("remote-ls", "shop", check=False)
        assert done.returncode != 0 and "org.test" not in done.stdout and "401" in done.stdout, done.stdout
        eve.flatpak("remote-delete", "--force", "shop", check=False)

    # The path of one member opens nothing of another's, and nothing at all once it is revoked.
    here.store.command("access-token", "revoke", secret["token"]["id"])
    here.store.settle()
    done = ann.flatpak("remote-ls", "--all", "shop", check=False)
    assert done.returncode != 0 and "401" in done.stdout, done.stdout
    assert listed(bob) == {PAID, f"{PAID}.Locale"}


def alike(headers: dict[str, str], name: str = "apps") -> dict[str, str]:
    return {key: value.replace(f"/repo/{name}", "/repo/x") for key, value in headers.items() if key != "date"}


def test_an_index_by_password_or_token_is_that_of_a_secret_path(market):
    here = market("--policy", "private", private=True)
    ann, made = here.member("ann", FREE)
    by_path = here.index(f"i/{made['secret']}")
    basic = base64.b64encode(f"ann:{made['secret']}".encode()).decode()
    by_password = here.index(Authorization=f"Basic {basic}")
    assert by_path[0] == by_password[0] == 200 and by_path[2] == by_password[2]
    assert set(refs(by_path[2])) == {app_ref(FREE)}
    assert by_path[1]["cache-control"].startswith("private") and "Authorization" in by_path[1]["vary"]
    # A secret in the path and another one in the header: the path's counts.
    assert here.index(f"i/{made['secret']}", Authorization="Bearer x")[0] == 200
    assert here.index("i/wrong", Authorization=f"Basic {basic}")[0] == 401
    # A summary token, which is what the bridge shows.
    here.store.command("robot", "add", "bridge")
    here.store.command("grant", "robot/bridge", "apps", FREE)
    robot = here.store.json("robot", "secret", "bridge")
    login = base64.b64encode(f"{robot['client_id']}:{robot['secret']}".encode()).decode()
    here.store.settle()
    form = {"Authorization": f"Basic {login}", "Content-Type": "application/x-www-form-urlencoded"}
    answer = request(here.store.url + "oauth/token", "POST", b"grant_type=client_credentials", form)
    access = {"Authorization": f"Bearer {json.loads(answer[2])['access_token']}", "Content-Type": "application/json"}
    body = json.dumps({"repo_url": here.store.repo_url("apps")}).encode()
    answer = request(here.store.url + "api/v1/summary-tokens", "POST", body, access)
    token = json.loads(answer[2])["token"]
    by_token = here.index(Authorization=f"Bearer {token}")
    assert by_token[0] == 200 and by_token[2] == by_path[2]
    # An icon is shown with the app that it belongs to only.
    icon = next(iter(json.loads(by_path[2])["Results"]))["Images"][0]["Labels"]["org.freedesktop.appstream.icon-64"]
    icon = icon.removeprefix("../")
    assert here.store.get(f"i/{made['secret']}/apps/{icon}")[0] == 200
    _, other = here.member("bob", PAID)
    assert here.store.get(f"i/{other['secret']}/apps/{icon}")[0] == 404
    assert here.store.get(f"repo/apps/{icon}")[0] == 401


def test_a_client_certificate_opens_what_its_account_may_list(market, tmp_path):
    here = market("--policy", "private", private=True, tls=True)
    (tmp_path / "ann").mkdir()
    (tmp_path / "eve").mkdir()
    anns, anns_key = self_signed(tmp_path / "ann")
    eves, eves_key = self_signed(tmp_path / "eve")
    here.store.command("account", "add", "ann@example.org", stdin="correct horse battery\n")
    here.store.command("grant", "ann@example.org", "apps", FREE)
    made = here.store.json("access-token", "add", "ann@example.org", "apps", "--name", "laptop", "--certificate", str(anns))
    here.store.settle()
    stranger = here.store.trusts

    def by(certificate=None, key=None, version=None, **headers):
        here.store.trusts = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
        if certificate:
            here.store.trusts.load_cert_chain(certificate, key)
        if version:
            here.store.trusts.maximum_version = version
        return here.index(**headers)

    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        status, _, body = by(anns, anns_key, version)
        assert status == 200 and set(refs(body)) == {app_ref(FREE)}
    # Who has no certificate, or one that nobody knows, is a stranger. What is said aloud goes before what is shown.
    nobody, unknown = by(), by(eves, eves_key)
    assert nobody[0] == unknown[0] == 401 and nobody[2] == unknown[2]
    assert by(anns, anns_key, Authorization="Bearer x")[0] == 401
    # A certificate is no secret: neither it nor its hash opens anything when somebody sends it.
    der = ssl.PEM_cert_to_DER_cert(anns.read_text())
    for known in (der, hashlib.sha256(der).hexdigest().encode(), made["certificate"].encode()):
        basic = base64.b64encode(b"ann:" + known).decode()
        assert by(Authorization=f"Basic {basic}")[0] == 401
    # One certificate, one access token of a repo, until that ends.
    again = ("access-token", "add", "ann@example.org", "apps", "--name", "again", "--certificate", str(anns))
    assert here.store.command(*again, check=False).returncode != 0
    here.store.command("access-token", "revoke", made["token"]["id"])
    here.store.settle()
    assert by(anns, anns_key)[0] == 401
    here.store.command(*again)
    here.store.settle()
    assert by(anns, anns_key)[0] == 200
    here.store.trusts = stranger


def test_a_registry_with_accounts_of_its_own_is_followed_by_the_stores_account_there(tmp_path, images):
    registry = Registry(tmp_path / "registry", auth=Htpasswd({"robot": "its password", "publisher": "x"}), tls=True)
    registry.start()
    store = Store(tmp_path / "store", programs())
    try:
        pushed = images.layout.push_all(registry.host, "shop", Login("publisher", "x"))
        store.set("registries", look_seconds=1, certificates=str(registry.certificate))
        store.command("repo", "add", "apps", registry.source("shop"), "--access", "broker", "--robot", "robot", stdin="wrong\n")
        store.start()
        deadline = time.monotonic() + LATEST
        while "cannot be looked at" not in store.log():
            assert time.monotonic() < deadline, store.log()
            time.sleep(0.05)
        # What was never seen is not taken for empty: clients would think that all apps were gone.
        assert store.get(f"repo/apps/index/static?{STOCK}")[0] == 503
        store.command("repo", "set", "apps", "--robot", "robot", stdin="its password\n")
        while not (answer := store.get(f"repo/apps/index/static?{STOCK}"))[0] == 200:
            assert time.monotonic() < deadline + LATEST, store.log()
            time.sleep(0.05)
        assert refs(answer[2]) == pushed
        # Each image makes clients ask for a token: the registry gives nothing without one.
        kinds = {image["Labels"]["org.flatpak.ref"]: image["Labels"]["org.flatpak.commit-metadata.xa.token-type"]
                 for result in json.loads(answer[2])["Results"] for image in result["Images"]}
        assert kinds[app_ref(FREE)] == "AQAAAABp" and kinds[app_ref(PAID)] == "AgAAAABp"
        assert "its password" not in store.log() and "wrong" not in store.log()
    finally:
        store.kill()
        registry.stop()


def test_an_image_for_several_machines_is_installed_from_its_list(market, images, tmp_path):
    here = market(webhook=True)
    layout = newer(images, tmp_path, "for this machine")
    other = layout.add_for_arch(app_ref(FREE), "aarch64" if arch() != "aarch64" else "x86_64")
    name = "shop/several"
    entries = []
    for ref in (app_ref(FREE), other):
        layout.push(ref, here.registry.host, name)
        config = layout.config(ref)
        entries.append({"mediaType": MANIFEST, "digest": layout.digest(ref), "size": layout.blob(layout.digest(ref)).stat().st_size,
                        "platform": {"architecture": config["architecture"], "os": "linux"}})
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    put = request(f"{here.registry.url}v2/{name}/manifests/latest", "PUT", index, {"Content-Type": INDEX})
    assert put[0] == 201, put
    here.until(lambda: here.listed().get(app_ref(FREE)) == layout.digest(app_ref(FREE)))
    document = json.loads(here.index(query=f"repository={name}&tag=latest")[2])["Results"][0]
    assert document["Images"] == [] and document["Lists"][0]["Tags"] == ["latest"]
    assert {image["Labels"]["org.flatpak.ref"] for image in document["Lists"][0]["Images"]} == {app_ref(FREE), other}
    # It has the tag `latest`, so it counts, and not the one in the repository that goes by branches.
    ann = here.person("ann", oci(here.store.repo_url("apps")))
    ann.flatpak("install", "-y", "shop", FREE)
    assert "for this machine" in ann.run("flatpak", "run", FREE).stdout
