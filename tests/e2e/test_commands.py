"""The commands of `flatpass-authenticator`, and what the account page can end."""

import json

from stage.repo import MUST_BE_BOUGHT, PAID
from stage.store import Store


def test_remote_add_login_status_logout(world):
    ann = world.person("ann", remote=None)
    added = ann.run("flatpass-authenticator", "remote-add", "--user", "--no-gpg-verify", world.store.repo_url("apps"), "shop")
    assert "shop" in ann.flatpak("remotes", "--columns=name").stdout, added.stdout
    ann.run("flatpass-authenticator", "login", world.store.url)
    status = json.loads(ann.run("flatpass-authenticator", "status", "--json").stdout)
    assert world.store.url.rstrip("/") in json.dumps(status), status
    refused = ann.flatpak("install", "--noninteractive", "shop", PAID, check=False)
    assert "has not bought" in refused.stdout, refused.stdout
    ann.run("flatpass-authenticator", "logout", world.store.url)
    refused = ann.flatpak("install", "--noninteractive", "shop", PAID, check=False)
    assert "flatpass-authenticator login" in refused.stdout, refused.stdout


def test_granting_an_app_by_command_is_as_good_as_buying_it(world):
    ann = world.person("ann")
    ann.run("flatpass-authenticator", "login", world.store.url)
    world.store.command("grant", ann.email, "apps", PAID)
    world.store.settle()
    ann.flatpak("install", "--noninteractive", "shop", PAID)
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout


def sign_out_devices(person, store: Store) -> None:
    """On the account page, in the person's own browser."""
    person.browser_will("sign-out-device")
    person.run(person.env["BROWSER"], store.url + "account")


def test_a_device_that_is_signed_out_on_the_account_page_gets_no_more_tokens(world):
    ann = world.customer("ann")
    sign_out_devices(ann, world.store)
    assert "sign the device out" in ann.pages_seen()
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    ann.end_authenticator()
    refused = ann.flatpak("update", "--noninteractive", check=False)
    assert "flatpass-authenticator login" in refused.stdout, refused.stdout
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
