"""A container registry (Debian's docker-registry) that takes this store's tokens, with the tools that people have."""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pexpect
import pytest

from stage.images import GO_ARCH, Images, Login, repository, skopeo
from stage.person import Person
from stage.registry import Htpasswd, Notified, Registry, Token
from stage.repo import FREE, PAID, app_ref
from stage.store import Store, programs

PAID_IMAGE = repository(app_ref(PAID), "shop")
FREE_IMAGE = repository(app_ref(FREE), "shop")
BOTH = "shop/both"


def soon(what: str, is_so, patience: float = 20):
    deadline = time.monotonic() + patience
    while True:
        found = is_so()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience} seconds: {what}"
        time.sleep(0.05)


class Realm:
    """A store, a registry that trusts it, and in that what `images` has, pushed by a robot of the store."""

    def __init__(self, folder, images: Images, policy: str = "refs"):
        self.folder = folder
        self.store = Store(folder / "store", programs())
        self.registry = Registry(folder / "registry")
        self.images = images
        added = self.store.json(
            "repo", "add", "images", self.registry.source("shop"), "--policy", policy, "--webhook"
        )
        settings = added["registry"]["settings"]
        self.service = settings["service"]
        self.certificates = folder / "flatpass.pem"
        self.write_certificates()
        self.registry.auth = Token(settings["realm"], self.service, settings["issuer"], self.certificates)
        webhook = added["webhook"]
        self.registry.notified = Notified(webhook["url"], {"Authorization": f"Bearer {webhook['secret']}"})
        self.store.command("app", "price", "images", PAID, "5.00", "EUR")
        self.store.command("robot", "add", "ci")
        self.robot = Login("ci", self.store.json("robot", "secret", "ci")["secret"])
        self.store.command("repo", "role", "images", "robot/ci", "publisher")

    def start(self) -> "Realm":
        self.registry.start()
        self.store.start()
        self.images.layout.push_all(self.registry.host, "shop", self.robot)
        for ref in self.images.layout.refs():
            scope = f"repository:{repository(ref, 'shop')}:pull"
            soon(f"the store has seen {ref}", lambda: "no such repository" not in json.dumps(self.ask(scope)[2]))
        return self

    def end(self) -> None:
        self.registry.stop()
        self.store.kill()

    def write_certificates(self) -> None:
        self.certificates.write_text(self.store.command("repo", "certificates", "images").stdout)

    def ref_tokens(self, refs: list[str], bearer: str | None = None) -> dict:
        body = {"repo_url": self.store.repo_url("images"), "refs": [{"ref": ref} for ref in refs]}
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        request = urllib.request.Request(self.store.url + "api/v1/ref-tokens", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def account(self, name: str) -> Login:
        """A person with an account. What to log in with is an access token."""
        email = f"{name}@example.org"
        self.store.command("account", "add", email, stdin="correct horse battery\n")
        return Login(name, self.access_token(name)["secret"])

    def access_token(self, name: str, repo: str = "images", *options: str) -> dict:
        return self.store.json("access-token", "add", f"{name}@example.org", repo, "--name", "docker", *options)

    def ask(self, *scopes: str, login: Login | None = None, **fields: str) -> tuple[int, dict, dict]:
        """The token realm, as container tools ask it: status, headers, body."""
        query = urllib.parse.urlencode([("service", self.service), *(("scope", one) for one in scopes), *fields.items()])
        headers = {}
        if login:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        status, headers, body = self.store.get(f"oauth/registry-token?{query}", headers)
        return status, headers, json.loads(body)

    def post(self, **fields: str) -> tuple[int, dict]:
        form = urllib.parse.urlencode({"service": self.service, **fields}).encode()
        request = urllib.request.Request(self.store.url + "oauth/registry-token", form)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def image(self, name: str, tag: str = "stable") -> str:
        return f"docker://{self.registry.host}/{name}:{tag}"

    def inspect(self, name: str, login: Login | None = None) -> subprocess.CompletedProcess:
        options = login.options() if login else ["--no-creds"]
        return skopeo(self.folder / "skopeo", "inspect", "--tls-verify=false", *options, self.image(name), check=False)


def claims(token: str) -> tuple[dict, dict]:
    """Header and payload of a token, unchecked."""
    def decoded(part: str) -> dict:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    header, payload, _ = token.split(".")
    return decoded(header), decoded(payload)


def message(body: dict) -> str:
    [error] = body["errors"]
    assert set(error) == {"code", "message"}, body
    return error["message"]


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def realm(tmp_path, images):
    realm = Realm(tmp_path, images)
    try:
        yield realm.start()
    finally:
        realm.end()


@pytest.fixture
def private_realm(tmp_path, images):
    realm = Realm(tmp_path, images, policy="private")
    realm.registry.start()
    realm.store.start()
    try:
        yield realm
    finally:
        realm.end()


def test_skopeo_pulls_what_its_account_may_have_until_the_right_ends(realm, tmp_path):
    ann = realm.account("ann")
    anonymous = realm.inspect(FREE_IMAGE)
    assert anonymous.returncode == 0, anonymous.stderr
    assert json.loads(anonymous.stdout)["Architecture"] in GO_ARCH.values()
    refused = realm.inspect(PAID_IMAGE)
    assert refused.returncode == 1 and "needs an account" in refused.stderr and "/account" in refused.stderr

    refused = realm.inspect(PAID_IMAGE, ann)
    assert refused.returncode == 1 and "has not bought" in refused.stderr and f"/apps/images/{PAID}" in refused.stderr
    assert "5.00 EUR" in refused.stderr

    realm.store.command("grant", "ann@example.org", "images", PAID)
    realm.store.settle()
    copied = tmp_path / "copied"
    skopeo(copied, "copy", "--src-tls-verify=false", *ann.options("src-"), realm.image(PAID_IMAGE), f"oci:{copied}:x")
    digest = realm.images.layout.layer(app_ref(PAID)).split(":")[1]
    assert (copied / "blobs" / "sha256" / digest).exists(), "the layer came with the account's token"

    realm.store.command("revoke", "ann@example.org", "images", PAID)
    realm.store.settle()
    refused = realm.inspect(PAID_IMAGE, ann)
    assert refused.returncode == 1 and "has not bought" in refused.stderr


def test_a_login_takes_access_tokens_and_robots_secrets_and_no_password(realm, tmp_path):
    ann = realm.account("ann")
    home = tmp_path / "home"

    def login(user: str, password: str) -> subprocess.CompletedProcess:
        argv = ["--tls-verify=false", "-u", user, "-p", password, realm.registry.host]
        return skopeo(home, "login", *argv, check=False)

    for good in (ann, Login("ann@example.org", ann.password), realm.robot):
        done = login(good.user, good.password)
        assert done.returncode == 0, done.stderr
    # What was stored is used from now on.
    realm.store.command("grant", "ann@example.org", "images", PAID)
    realm.store.settle()
    login(ann.user, ann.password)
    done = skopeo(home, "inspect", "--tls-verify=false", realm.image(PAID_IMAGE), check=False)
    assert done.returncode == 0, done.stderr
    answers = set()
    for wrong in ("correct horse battery", "fpt_" + "x" * 32, ann.password + "x", "", realm.robot.password[:-1] + "~"):
        done = login("ann@example.org", wrong or " ")
        assert done.returncode == 1 and "Login Succeeded" not in done.stdout
        status, headers, body = realm.ask(login=Login("ann@example.org", wrong))
        assert status == 401 and headers["www-authenticate"].startswith("Basic ")
        answers.add(message(body))
    assert len(answers) == 1 and "access token" in answers.pop(), "no answer tells one wrong password from another"


def test_podman_logs_in_and_out_with_an_access_token(realm, tmp_path):
    ann = realm.account("ann")
    env = {"HOME": str(tmp_path / "podman"), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path / "podman")}
    (tmp_path / "podman").mkdir()
    auth = tmp_path / "podman" / "auth.json"

    def podman(*argv: str, stdin: str | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["podman", *argv, "--authfile", str(auth), realm.registry.host],
            env=env, input=stdin, text=True, capture_output=True, timeout=60,
        )

    done = podman("login", "--tls-verify=false", "-u", "ann", "--password-stdin", stdin=ann.password)
    assert done.returncode == 0, done.stderr
    assert realm.registry.host in json.loads(auth.read_text())["auths"]
    # What podman keeps, skopeo uses too.
    realm.store.command("grant", "ann@example.org", "images", PAID)
    realm.store.settle()
    env["REGISTRY_AUTH_FILE"] = str(auth)
    inspect = ["skopeo", "inspect", "--tls-verify=false", realm.image(PAID_IMAGE)]
    assert subprocess.run(inspect, env=env, capture_output=True, timeout=60).returncode == 0
    done = podman("logout")
    assert done.returncode == 0 and realm.registry.host not in json.loads(auth.read_text())["auths"], done.stderr
    assert subprocess.run(inspect, env=env, capture_output=True, timeout=60).returncode != 0
    done = podman("login", "--tls-verify=false", "-u", "ann", "--password-stdin", stdin="correct horse battery")
    assert done.returncode != 0
    assert realm.registry.host not in json.loads(auth.read_text())["auths"]


def test_publishers_push_and_operators_delete_and_no_secret_of_a_remote_does(realm):
    of_remote = realm.account("ann")
    ann = Login("ann", realm.access_token("ann", "images", "--push")["secret"])
    realm.store.command("grant", "ann@example.org", "images", "*")
    realm.store.settle()
    scope = f"repository:{PAID_IMAGE}:pull,push"
    status, _, body = realm.ask(scope, login=ann)
    assert status == 200
    [access] = claims(body["token"])[1]["access"]
    assert access["actions"] == ["pull"], "a right to the app is none to change it"
    status, _, body = realm.ask(f"repository:{PAID_IMAGE}:push", login=ann)
    assert status == 401 and "not change it" in message(body)
    layout, ref = realm.images.layout, app_ref(FREE)
    with pytest.raises(AssertionError, match="(?i)denied|authentication required|not change"):
        layout.push(ref, realm.registry.host, "shop/new", ann)

    realm.store.command("group", "add", "makers")
    realm.store.command("group", "add-member", "makers", "ann@example.org")
    realm.store.command("repo", "role", "images", "--group", "makers", "publisher")
    layout.push(ref, realm.registry.host, "shop/new", ann)
    with pytest.raises(AssertionError):
        layout.push(ref, realm.registry.host, "elsewhere/new", ann)
    status, _, body = realm.ask("repository:shop/new:push", login=of_remote)
    assert status == 401 and "password for container tools" in message(body)
    [access] = claims(realm.ask(scope, login=of_remote)[2]["token"])[1]["access"]
    assert access["actions"] == ["pull"], "what stands in a remote's address uses no role"
    target = realm.image("shop/new")
    deleted = skopeo(realm.folder / "x", "delete", "--tls-verify=false", *ann.options(), target, check=False)
    assert deleted.returncode == 1
    realm.store.command("repo", "role", "images", "--group", "makers", "operator")
    assert realm.ask("repository:shop/new:delete", login=of_remote)[0] == 401
    skopeo(realm.folder / "x", "delete", "--tls-verify=false", *ann.options(), target)
    assert realm.registry.manifest("shop/new", "stable", token=realm.ask(
        "repository:shop/new:pull", login=ann)[2]["token"])[0] == 404
    realm.store.command("repo", "role", "images", "--group", "makers", "none")
    assert realm.ask("repository:shop/new:push", login=ann)[0] == 401


def test_a_token_says_what_registries_check_and_no_more_than_was_asked(realm):
    ann = realm.account("ann")
    realm.store.command("grant", "ann@example.org", "images", PAID, "--until", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 120)))
    realm.store.settle()
    scopes = [f"repository:{PAID_IMAGE}:pull repository:{FREE_IMAGE}:pull,push,frobnicate", "repository:shop/none:pull",
              "registry:catalog:*", "repository(plugin):shop/x:pull"]
    status, headers, body = realm.ask(*scopes, login=ann, account="ann", client_id="test")
    assert status == 200 and headers["cache-control"] == "no-store"
    assert body["token"] == body["access_token"] and "refresh_token" not in body
    assert 0 < body["expires_in"] <= 120, "it does not outlive the right"
    assert time.strptime(body["issued_at"], "%Y-%m-%dT%H:%M:%SZ")
    header, payload = claims(body["token"])
    assert header["alg"] == "ES256" and len(header["kid"].split(":")) == 12
    assert payload["aud"] == realm.service and payload["iss"] == realm.store.url.rstrip("/")
    assert isinstance(payload["exp"], int) and payload["exp"] - payload["iat"] == body["expires_in"]
    assert payload["access"] == [
        {"type": "repository", "name": PAID_IMAGE, "actions": ["pull"]},
        {"type": "repository", "name": FREE_IMAGE, "actions": ["pull"]},
    ]
    get = lambda name: realm.registry.manifest(name, "stable", token=body["token"])[0]
    assert (get(PAID_IMAGE), get(FREE_IMAGE)) == (200, 200)
    # The store's own API takes no token of a registry.
    assert realm.store.get("api/v1/access-tokens", {"Authorization": f"Bearer {body['token']}"})[0] == 401
    free = realm.ask(f"repository:{FREE_IMAGE}:pull")[2]["token"]
    assert realm.registry.manifest(FREE_IMAGE, "stable", token=free)[0] == 200
    assert realm.registry.manifest(PAID_IMAGE, "stable", token=free)[0] == 401


def test_a_repository_with_anything_that_must_be_bought_is_open_to_nobody_who_has_not(realm):
    bob = realm.account("bob")
    layout = realm.images.layout
    layout.push(app_ref(FREE), realm.registry.host, BOTH, realm.robot)
    soon("the free image is seen", lambda: realm.ask(f"repository:{BOTH}:pull")[0] == 200)
    skopeo(realm.folder / "x", "copy", "--dest-tls-verify=false", *realm.robot.options("dest-"),
           f"oci:{layout.path}:{app_ref(PAID)}", f"docker://{realm.registry.host}/{BOTH}:paid")
    soon("the paid image is seen", lambda: realm.ask(f"repository:{BOTH}:pull")[0] == 401)
    assert realm.ask(f"repository:{BOTH}:pull", login=bob)[0] == 401
    realm.store.command("grant", "bob@example.org", "images", PAID)
    assert realm.ask(f"repository:{BOTH}:pull", login=bob)[0] == 200


def test_refresh_tokens_go_on_as_long_as_the_access_token_they_came_from(realm):
    ann = realm.account("ann")
    made = realm.access_token("ann")
    fields = {"grant_type": "password", "username": "ann", "password": made["secret"], "client_id": "docker",
              "scope": f"repository:{FREE_IMAGE}:pull"}
    assert "refresh_token" not in realm.post(**fields)[1]
    status, body = realm.post(**fields, access_type="offline")
    assert status == 200 and body["access_token"] == body["token"] and body["scope"] == fields["scope"]
    refresh = body["refresh_token"]
    by_get = realm.ask(login=Login("x", made["secret"]), offline_token="true")[2]["refresh_token"]
    again = lambda token: realm.post(grant_type="refresh_token", refresh_token=token, client_id="docker",
                                     scope=f"repository:{FREE_IMAGE}:pull")
    for token in (refresh, by_get):
        status, body = again(token)
        assert status == 200 and body["refresh_token"] == token
        assert realm.registry.manifest(FREE_IMAGE, "stable", token=body["access_token"])[0] == 200
    # It is no password, and one for another service is none.
    assert realm.ask(login=Login("x", refresh))[0] == 401
    own = f"127.0.0.1:{realm.store.port}"
    assert realm.post(grant_type="refresh_token", refresh_token=refresh, service=own)[0] == 401
    realm.store.command("access-token", "revoke", made["token"]["id"])
    for token in (refresh, by_get):
        assert again(token)[0] == 401
    assert realm.ask(login=ann)[0] == 200, "another one of the same account goes on"


def test_what_cannot_be_meant_is_refused_in_the_registrys_words_and_changes_nothing(realm):
    before = realm.store.json("access-token", "list"), realm.store.json("repo", "list")
    service = urllib.parse.quote(realm.service)
    many = "&".join(f"scope=repository:shop/a{number}:pull" for number in range(65))
    long_name = "a" * 256
    for query in [
        "", "service=", f"service={service}&service={service}", f"service={'x' * 300}",
        "service=%00", "service=%ff", "service=%", f"service={service}&scope=pull", f"service={service}&scope=repository:",
        f"service={service}&scope=repository:x", f"service={service}&scope=repository:Shop/a:pull",
        f"service={service}&scope=repository:..%2F..%2Fetc:pull", f"service={service}&scope=repository:{long_name}:pull",
        f"service={service}&scope=repository:shop//a:pull", f"service={service}&{many}",
        f"service={service}&scope={'+'.join(['repository:shop/a:pull'] * 65)}", f"service={service}&client_id={'x' * 300}",
        f"service={service}&account=a%0Ab",
    ]:
        status, headers, body = realm.store.get(f"oauth/registry-token?{query}")
        assert status == 400, (query, status, body)
        assert headers["cache-control"] == "no-store" and message(json.loads(body)), query
    assert realm.ask(*[f"repository:shop/a{number}:pull" for number in range(64)])[0] == 200
    for header in ("Bearer x", "Basic", "Basic !!!", "Basic " + base64.b64encode(b"no colon").decode(), "Digest x"):
        status, _, body = realm.store.get(f"oauth/registry-token?service={service}", {"Authorization": header})
        assert status in (400, 401) and message(json.loads(body)), header
    for fields in [{}, {"grant_type": "authorization_code"}, {"grant_type": "password"}, {"grant_type": "refresh_token"}]:
        status, body = realm.post(**fields)
        assert status == 400 and message(body), fields
    for token in ("fpo_", "fpo_v1.", "fpo_v1." + "A" * 200, "fpo_" + "A" * 5000, realm.robot.password):
        status, body = realm.post(grant_type="refresh_token", refresh_token=token)
        assert status == 401 and message(body), token[:20]
    request = urllib.request.Request(realm.store.url + "oauth/registry-token", b"x" * 40_000, method="POST",
                                     headers={"Content-Type": "application/x-www-form-urlencoded"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 413 and message(json.load(refused.value))
    for method, kind, expected in [("POST", "application/json", 415), ("PUT", "application/x-www-form-urlencoded", 405)]:
        request = urllib.request.Request(realm.store.url + "oauth/registry-token", b"{}", {"Content-Type": kind}, method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == expected and message(json.load(refused.value))
    assert (realm.store.json("access-token", "list"), realm.store.json("repo", "list")) == before


def test_who_floods_waits_and_locks_nobody_out(realm):
    realm.store.set("limits", token_per_minute=3)
    realm.store.restart()
    ann = realm.account("ann")
    wrong = Login("ann@example.org", "fpt_" + "x" * 32)
    statuses = [realm.ask(login=wrong)[0] for _ in range(6)]
    assert statuses == [401] * 3 + [429] * 3
    status, headers, body = realm.ask(login=wrong)
    assert status == 429 and int(headers["retry-after"]) > 0 and "Wait" in message(body)
    assert realm.ask(login=ann)[0] == 200, "good credentials from the same address go on"
    statuses = [realm.ask(f"repository:{FREE_IMAGE}:pull")[0] for _ in range(40)]
    assert statuses[0] == 200 and statuses[-1] == 429


def test_a_private_repo_looks_to_strangers_like_one_that_is_not_there(private_realm):
    realm = private_realm
    realm.images.layout.push_all(realm.registry.host, "shop", realm.robot)
    ann, bob = realm.account("ann"), realm.account("bob")
    realm.store.command("grant", "ann@example.org", "images", "*")
    soon("the images are seen", lambda: realm.ask(f"repository:{FREE_IMAGE}:pull", login=ann)[0] == 200)
    for login in (None, bob):
        answers = {
            json.dumps(realm.ask(f"repository:{name}:{actions}", login=login)[::2])
            for name in (FREE_IMAGE, PAID_IMAGE, "shop/none", "elsewhere/none")
            for actions in ("pull", "push", "pull,push", "delete")
        }
        assert len(answers) == 1, answers
    own = f"127.0.0.1:{realm.store.port}"
    status = realm.store.get(f"oauth/registry-token?service={own}&scope=repository:images/x:pull")[0]
    other = realm.store.get(f"oauth/registry-token?service={own}&scope=repository:none/x:pull")[0]
    assert status == other == 401


def test_a_registry_takes_a_new_key_with_its_certificate(realm):
    token = realm.ask(f"repository:{FREE_IMAGE}:pull")[2]["token"]
    get = lambda token: realm.registry.manifest(FREE_IMAGE, "stable", token=token)[0]
    assert get(token) == 200
    told = realm.store.command("key", "rotate").stdout
    assert "flatpass repo certificates images" in told and "restart" in told
    assert realm.store.command("repo", "certificates", "images").stdout.count("BEGIN CERTIFICATE") == 2
    told = realm.store.command("key", "rotate", "--at-once").stdout
    assert "flatpass repo certificates images" in told
    realm.store.settle()
    assert get(realm.ask(f"repository:{FREE_IMAGE}:pull")[2]["token"]) == 401
    realm.write_certificates()
    realm.registry.restart()
    assert get(realm.ask(f"repository:{FREE_IMAGE}:pull")[2]["token"]) == 200
    assert get(token) == 401, "the old key's tokens are refused"


def test_ref_tokens_open_the_registry_and_free_images_need_no_account(realm):
    refs = realm.images.layout.refs()
    answer = realm.ref_tokens(refs)
    assert answer["registry"] == realm.registry.url and answer["open"] == []
    assert {one["reason"] for one in answer["denied"]} == {"sign_in_required"}
    assert {one["ref"] for one in answer["denied"]} == {ref for ref in refs if PAID in ref}
    [issued] = answer["tokens"]
    assert set(issued["refs"]) == {ref for ref in refs if PAID not in ref}
    assert realm.registry.manifest(FREE_IMAGE, "stable", token=issued["token"])[0] == 200
    assert realm.registry.manifest(PAID_IMAGE, "stable", token=issued["token"])[0] == 401

    robot = realm.store.json("robot", "list")[0]["id"]
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": robot, "client_secret": realm.robot.password})
    with urllib.request.urlopen(realm.store.url + "oauth/token", form.encode(), timeout=10) as given:
        bearer = json.load(given)["access_token"]
    realm.store.command("grant", "robot/ci", "images", PAID)
    answer = realm.ref_tokens(refs, bearer)
    assert answer["denied"] == []
    token = next(one["token"] for one in answer["tokens"] if app_ref(PAID) in one["refs"])
    assert realm.registry.manifest(PAID_IMAGE, "stable", token=token)[0] == 200


def test_repo_check_says_what_the_registry_gets_wrong_and_what_mends_it(tmp_path):
    """Without a single image: only the registry's door is looked at."""
    store = Store(tmp_path / "store", programs())
    registry = Registry(tmp_path / "registry")
    settings = store.json("repo", "add", "images", registry.source())["registry"]["settings"]

    def check() -> dict[str, dict]:
        done = store.command("--json", "repo", "check", "images", check=False)
        found = json.loads(done.stdout)
        problems = {one["code"]: one for one in found["findings"] if one["weight"] == "problem"}
        assert done.returncode == (3 if problems else 0), done.stderr
        return problems

    assert set(check()) == {"unreachable"}
    try:
        registry.start()
        assert "auth:" in check()["open"]["advice"]
        certificates = tmp_path / "flatpass.pem"
        certificates.write_text(store.command("repo", "certificates", "images").stdout)
        elsewhere = Token("http://127.0.0.1:1/token", settings["service"], settings["issuer"], certificates)
        for auth, code in [
            (Htpasswd({"ann": "x"}), "not-realm"),
            (elsewhere, "not-realm"),
            (Token(settings["realm"], "another", settings["issuer"], certificates), "service"),
            (Token(settings["realm"], settings["service"], "http://127.0.0.1:1", certificates), "key"),
        ]:
            registry.auth = auth
            registry.restart()
            assert set(check()) == {code}, auth
        assert check()["key"]["mend"][0].startswith("flatpass repo certificates images >")
        registry.auth = Token(settings["realm"], settings["service"], settings["issuer"], certificates)
        registry.restart()
        assert check() == {}
        store.command("key", "rotate")
        assert "signs from" in check()["key"]["what"], "before it signs"
        certificates.write_text(store.command("repo", "certificates", "images").stdout)
        registry.restart()
        assert check() == {}

        store.command("repo", "set", "images", "--access", "none")
        assert set(check()) == {"asks"}
        store.command("app", "price", "images", PAID, "5.00", "EUR")
        assert {"unguarded", "asks"} == set(check())
        store.command("repo", "set", "images", "--access", "broker")
        assert set(check()) == {"no-robot"}
        registry.auth = Htpasswd({"shop": "a password"})
        registry.restart()
        store.command("repo", "set", "images", "--robot", "shop", stdin="a password\n")
        assert "basic-only" in check()
        for place in (store.folder, tmp_path):
            assert not any(b"a password" in file.read_bytes() for file in place.glob("flatpass.db*"))
    finally:
        registry.stop()


def test_a_registry_and_its_parts_belong_to_one_repo(tmp_path):
    store = Store(tmp_path / "store", programs())
    add = lambda *argv: store.command("repo", "add", *argv, check=False)
    assert add("one", "oci://registry.test/shop").returncode == 0
    for argv in [
        ("two", "oci://registry.test"), ("two", "oci://registry.test/shop/a"), ("two", "oci://registry.test/shop"),
        ("two", "oci://other.test", "--service", "registry.test"), ("two", "oci://registry.test/other", "--repository", "shop/a"),
        ("two", "oci://other.test", "--service", f"127.0.0.1:{store.port}"), ("two", "oci://user:pw@other.test"),
        ("two", "oci://other.test/UPPER"), ("two", "oci+http://other.test", "--robot", "x"), ("two", "oci://other.test", "--gpg-key", "/dev/null"),
        ("two", "oci-layout:/nowhere"), ("two", "oci-layout:/tmp", "--access", "none"), ("two", str(tmp_path), "--webhook"),
    ]:
        done = add(*argv)
        assert done.returncode in (1, 2) and done.stderr and "Traceback" not in done.stderr, argv
    assert [one["name"] for one in store.json("repo", "list")] == ["one"]
    assert add("two", "oci://registry.test/other").returncode == 0
    assert store.command("repo", "certificates", "two").stdout.startswith("-----BEGIN CERTIFICATE-----")


def test_flatpaks_own_authenticator_installs_what_is_free_and_with_an_access_token_what_is_not(realm):
    """Flatpak's own OCI authenticator against our realm: free without a login, paid with a password typed at the terminal."""
    ann = realm.account("ann")
    person = Person(realm.folder / "people", "pat", programs())
    try:
        person.flatpak("remote-add", "shop", f"oci+{realm.store.repo_url('images')}")
        person.flatpak("install", "-y", "shop", FREE)
        assert "free as can be" in person.flatpak("run", FREE).stdout
        refused = person.flatpak("install", "-y", "shop", PAID, check=False)
        assert refused.returncode != 0 and f"{PAID} needs an account" in refused.stdout and "/account" in refused.stdout

        window = person.at_terminal("flatpak", "--user", "install", "shop", PAID)
        window.expect_exact("[Y/n]")
        window.sendline("y")

        def log_in(password: str) -> None:
            window.expect_exact("User:")
            window.sendline("ann")
            window.expect_exact("Password:")
            window.sendline(password)

        log_in("correct horse battery")
        window.expect_exact("An account's own password is not taken")
        log_in(ann.password)
        window.expect_exact("has not bought")
        # The person buys it elsewhere, and types the same again.
        realm.store.command("grant", "ann@example.org", "images", PAID)
        realm.store.settle()
        log_in(ann.password)
        window.expect(pexpect.EOF)
        window.close()
        assert window.exitstatus == 0, window.before
        assert "paid, version 1" in person.flatpak("run", PAID).stdout
    finally:
        person.leave()
