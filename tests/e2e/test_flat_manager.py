"""A repo that flat-manager publishes to: stock Flatpak has tokens as flat-manager takes them, for our gate and for flat-manager itself."""

import base64
import json
import subprocess

import pytest

from conftest import World
from stage.flat_manager import FlatManager
from stage.repo import FREE, MUST_BE_BOUGHT, PAID, SIBLING, app_ref

SECRET = b"a secret that flat-manager and the store share"
PUBLISHED = [PAID, f"{PAID}.Locale", SIBLING, f"{SIBLING}.Locale"]


def share_secret(world: World, secret: bytes = SECRET) -> None:
    file = world.folder / "repo-secret"
    file.write_bytes(base64.b64encode(secret))
    world.store.command(
        "repo", "set", "apps", "--tokens", "flat-manager", "--flat-manager-secret-file", str(file),
        "--flat-manager-repo", "stable",
    )


@pytest.fixture(params=["refs", "objects"])
def gated(request, tmp_path, template):
    """A store whose gate stands before flat-manager's repository."""
    world = World(tmp_path, template, policy=request.param)
    share_secret(world)
    yield world.start()
    world.end()


@pytest.fixture
def direct(tmp_path, template):
    """A store beside a flat-manager that serves the repository itself."""
    served = FlatManager(tmp_path / "repo", SECRET, set(PUBLISHED))
    world = World(tmp_path, template, mirror=served.url)
    share_secret(world)
    world.flat_manager = served
    yield world.start()
    served.close()
    world.end()


def publish(world: World, text: str) -> None:
    world.repo.export_app(PAID, text, token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)


def test_a_bought_app_installs_and_updates_through_the_gate(gated):
    ann = gated.customer("ann")
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    assert f"{PAID}.Locale" in ann.flatpak("list", "--all", "--columns=ref").stdout
    publish(gated, "paid, version 2")
    ann.browser_will("fail")
    ann.flatpak("update", "--noninteractive")
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    # The secret is exchanged; the next update does not notice.
    share_secret(gated, b"another secret that flat-manager and the store share")
    publish(gated, "paid, version 3")
    ann.end_authenticator()
    ann.flatpak("update", "--noninteractive")
    assert "paid, version 3" in ann.run("flatpak", "run", PAID).stdout
    assert ann.pages_seen() == []


def test_what_is_not_bought_is_refused_with_a_sentence(gated):
    ann = gated.customer("ann")
    done = ann.flatpak("install", "--noninteractive", "shop", SIBLING, check=False)
    assert done.returncode != 0
    assert "has not bought" in done.stdout and gated.store.url in done.stdout, done.stdout
    ann.flatpak("install", "--noninteractive", "shop", FREE)


def test_an_existing_flat_manager_takes_the_stores_tokens_for_what_was_bought_alone(direct):
    ann = direct.person("ann", remote=None)
    ann.flatpak("remote-add", "--no-gpg-verify", "shop", direct.flat_manager.url)
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + direct.store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    tokens = {sent.removeprefix("Bearer ") for path, sent in direct.flat_manager.heads if path.endswith(".commit") and sent}
    assert tokens, direct.flat_manager.heads
    for token in tokens:
        claims = direct.flat_manager.claims(token)
        assert claims["prefixes"] and "" not in claims["prefixes"], claims
        assert [app for app in PUBLISHED if direct.flat_manager.opens(claims, app)] == [PAID, f"{PAID}.Locale"], claims
    ann.browser_will("fail")
    publish(direct, "paid, version 2")
    ann.flatpak("update", "--noninteractive")
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    done = ann.flatpak("install", "--noninteractive", "shop", SIBLING, check=False)
    assert done.returncode != 0 and "has not bought" in done.stdout, done.stdout


def test_the_two_steps_of_flathub_buy_a_token_that_curl_can_use(gated):
    file = gated.folder / "update-secret"
    file.write_bytes(base64.b64encode(b"a secret of the operator for update tokens alone"))
    gated.store.command("repo", "set", "apps", "--update-token-secret-file", str(file))
    gated.store.settle()
    ask = ["curl", "-s", "-X", "POST", "-H", "Content-Type: application/json"]
    body = json.dumps({"appids": [app_ref(PAID)], "update_token": "wrong"})
    url = f"{gated.store.url}purchases/generate-download-token"
    said = subprocess.run([*ask, "-d", body, url], capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["detail"] == "invalid_token", said


def test_a_secret_that_can_be_guessed_is_refused_and_the_command_says_what_to_do(gated):
    file = gated.folder / "weak"
    file.write_bytes(base64.b64encode(b"secret"))
    done = gated.store.command("repo", "set", "apps", "--flat-manager-secret-file", str(file), check=False)
    assert done.returncode != 0 and "openssl rand" in done.stderr, done.stderr
    done = gated.store.command("repo", "set", "apps", "--flat-manager-url", "http://fm.example/", check=False)
    assert done.returncode != 0 and "https" in done.stderr, done.stderr
