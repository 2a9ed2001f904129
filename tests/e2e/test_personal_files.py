"""Files from the account page: one click, and stock Flatpak has the private repo, or an app of it. And devices by code."""

import json
import re
import urllib.parse
import urllib.request

import pytest

from stage.pages import Pages
from stage.person import Person
from stage.repo import FREE, PAID, WIKI, company_repo
from stage.signing import Key
from stage.store import Store, programs


def member(world, name: str):
    person = world.person(name, remote=None)
    return person, signed_in(world.store, person)


def signed_in(store: Store, person: Person) -> Pages:
    store.command("account", "add", person.email, stdin=person.password + "\n")
    store.command("grant", person.email, "apps", "*")
    store.settle()
    person.has_account = True
    return Pages(store, person.email, person.password)


@pytest.fixture
def signed(tmp_path):
    """A person who is a member of a private repo with signatures, and the store's pages for them."""
    key = Key(tmp_path / "key")
    repo = company_repo(tmp_path / "repo", key)
    store = Store(tmp_path / "store", programs())
    repo.name_authenticator(store.url)
    store.command("repo", "add", "apps", str(repo.path), "--policy", "private", "--gpg-key", str(key.public))
    store.start()
    person = Person(tmp_path / "people", "ann", programs())
    yield person, signed_in(store, person)
    person.leave()
    store.kill()
    key.end()


def test_one_file_adds_the_private_repo_and_its_secret_is_seen_and_ended(private_world):
    ann, pages = member(private_world, "ann")
    (ann.home / "apps.flatpakrepo").write_text(pages.submit("/account", "/account/repos/apps/flatpakrepo"))
    ann.flatpak("remote-add", "--from", "shop", str(ann.home / "apps.flatpakrepo"))
    assert PAID in ann.flatpak("remote-ls", "--columns=application", "shop").stdout
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    config = (ann.home / ".local/share/flatpak/repo/config").read_text()
    assert "xa.authenticator-name=org.flatpass.Authenticator" in config
    private_world.store.settle()
    page = pages.get("/account")
    assert "apps.flatpakrepo, downloaded" in page
    action = "/account/access-tokens/" + re.search(r'/account/access-tokens/([^"]*)"', page).group(1)
    pages.submit("/account", action)
    ended = ann.flatpak("remote-ls", "shop", check=False)
    assert ended.returncode != 0 and "401" in ended.stdout, ended.stdout


def test_one_file_installs_an_app_of_the_private_repo_with_its_runtime(private_world):
    ann, pages = member(private_world, "ann")
    action = f"/account/repos/apps/flatpakref?app={urllib.parse.quote(FREE).replace('.', '%2E')}&branch=stable"
    (ann.home / "free.flatpakref").write_text(pages.submit("/account/repos/apps", action))
    ann.flatpak("install", "-y", str(ann.home / "free.flatpakref"))
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    remotes = ann.flatpak("remotes", "--columns=name,url").stdout
    assert remotes.count("device:fpt_") == 1, remotes


def test_the_files_have_the_key_that_the_repo_is_signed_with(signed):
    ann, pages = signed
    action = f"/account/repos/apps/flatpakref?app={WIKI.replace('.', '%2E')}&branch=stable"
    (ann.home / "wiki.flatpakref").write_text(pages.submit("/account/repos/apps", action))
    ann.flatpak("install", "-y", str(ann.home / "wiki.flatpakref"))
    assert "the wiki, version 1" in ann.run("flatpak", "run", WIKI).stdout
    assert "gpg-verify=true" in (ann.home / ".local/share/flatpak/repo/config").read_text()
    (ann.home / "apps.flatpakrepo").write_text(pages.submit("/account", "/account/repos/apps/flatpakrepo"))
    ann.flatpak("remote-add", "--from", "again", str(ann.home / "apps.flatpakrepo"))
    assert WIKI in ann.flatpak("remote-ls", "--columns=application", "again").stdout


def test_a_device_is_let_in_by_its_code_on_a_real_page(world):
    ann = world.person("ann", remote=None)
    form = urllib.parse.urlencode({"client_id": "flatpass-authenticator", "device_name": "Kiosk"}).encode()
    codes = json.load(urllib.request.urlopen(world.store.url + "oauth/device_authorization", form))
    ann.browser_will("device " + codes["user_code"].lower().replace("-", " "))
    ann.visit(codes["verification_uri"])
    seen = ann.pages_seen()
    assert seen[-1] == "device: The device is in", seen
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "flatpass-authenticator"}
    form = urllib.parse.urlencode({**grant, "device_code": codes["device_code"]}).encode()
    assert json.load(urllib.request.urlopen(world.store.url + "oauth/token", form))["token_type"] == "Bearer"
