"""The same through libflatpak and GObject introspection, as graphical stores use it."""

import json

from stage.person import STAGE
from stage.repo import MUST_BE_BOUGHT, PAID, RUNTIME, app_ref

NOT_AUTHORIZED = 24  # FLATPAK_ERROR_NOT_AUTHORIZED


def through_libflatpak(person, *argv: str) -> dict:
    done = person.run("/usr/bin/python3", str(STAGE / "gi_install.py"), *argv)
    return json.loads(done.stdout.splitlines()[-1])


def test_install_with_a_web_flow_and_update_without(world):
    ann = world.person("ann")
    ann.flatpak("install", "-y", "shop", RUNTIME)
    result = through_libflatpak(ann, "install", "shop", app_ref(PAID))
    assert result["ok"], (result, ann.session_log(), world.store.log())
    assert result["events"] == ["webflow-start", "webflow-done"]
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    result = through_libflatpak(ann, "update", "shop", app_ref(PAID))
    assert result == {"ok": True, "events": []}, (result, ann.session_log())
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout


def test_a_program_without_a_browser_gets_an_error_and_nothing_is_installed(world):
    ann = world.person("ann")
    ann.flatpak("install", "-y", "shop", RUNTIME)
    result = through_libflatpak(ann, "install", "shop", app_ref(PAID), "--no-browser")
    assert not result["ok"]
    assert result["events"][0] == "webflow-start"
    assert PAID not in ann.flatpak("list").stdout
