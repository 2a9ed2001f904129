"""The story that ./demo plays: an app is sold, updated, and refused to who has not paid."""

import signal
import sys

from stage.repo import FREE, MUST_BE_BOUGHT, PAID, app_ref, small_repo
from stage.store import programs
from stage.story import Scene, must, play, show, tell


def story(scene: Scene) -> None:
    folder, store = scene.folder, scene.store
    tell("1. A publisher makes a repository with flatpak's own tools: a runtime, a free app, a paid app with its .Locale.")
    repo = small_repo(folder / "repo")
    repo.name_authenticator(store.url)
    show(repo.ostree("refs"))

    tell(f"2. The store: flatpass init, repo add, app price, serve. It listens on {store.url}")
    store.command("repo", "add", "apps", str(repo.path), "--policy", "refs")
    store.command("app", "price", "apps", PAID, "5.00", "EUR")
    show(store.command("repo", "check", "apps", check=False).stdout)
    store.start()

    ann = scene.person("ann")
    ann.flatpak("remote-add", "--no-gpg-verify", "shop", store.repo_url("apps"))

    tell("3. Ann installs the free app. No account, no token.")
    ann.flatpak("install", "-y", "shop", FREE)
    said = ann.run("flatpak", "run", FREE).stdout
    show(f"$ flatpak run {FREE}\n{said}")
    must("free as can be" in said and ann.authenticator_pid() is None, "the free app needed more than flatpak")

    tell("4. Ann tries the paid app without an account, from a script that must not ask anything.")
    refused = ann.flatpak("install", "--noninteractive", "shop", PAID, check=False)
    show(refused.stdout)
    must(refused.returncode != 0 and "flatpass-authenticator login" in refused.stdout, "no refusal that says what to do")

    tell("5. Ann types flatpak install. Her browser opens; she signs up, pays 5.00 EUR (the sandbox takes no money), says yes.")
    code, text = ann.install_at_terminal("shop", PAID)
    show("\n".join(f"browser: {line}" for line in ann.pages_seen()))
    must(code == 0, f"the installation failed:\n{text}\n{ann.session_log()}\n{store.log()}")
    said = ann.run("flatpak", "run", PAID).stdout
    show(f"$ flatpak run {PAID}\n{said}")
    must("paid, version 1" in said, "the paid app does not run")

    tell("6. The publisher releases version 2. Ann's machine updates at night, with nobody there.")
    repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    repo.name_authenticator(store.url)
    ann.end_authenticator()
    ann.flatpak("update", "--noninteractive")
    said = ann.run("flatpak", "run", PAID).stdout
    show(f"$ flatpak run {PAID}\n{said}")
    must("paid, version 2" in said and ann.pages_seen() == [], "the update needed somebody")

    tell("7. Bob has an account and has not paid. He gets a sentence and no bytes.")
    bob = scene.person("bob")
    bob.flatpak("remote-add", "--no-gpg-verify", "shop", store.repo_url("apps"))
    signed_in = bob.run("flatpass-authenticator", "login", store.url)
    show("\n".join(f"browser: {line}" for line in bob.pages_seen()))
    show(f"$ flatpass-authenticator login {store.url}\n{signed_in.stdout}")
    refused = bob.flatpak("install", "--noninteractive", "shop", PAID, check=False)
    show(refused.stdout)
    must(refused.returncode != 0, "Bob got the app without paying")
    commit = repo.commit(app_ref(PAID))
    status, _, body = store.get(f"repo/apps/objects/{commit[:2]}/{commit[2:]}.commit")
    show(f"$ curl …/objects/{commit[:2]}/….commit\n{status} {body.decode()}")
    must(status == 401, "the gate served a paid commit without a token")


def stay(scene: Scene) -> None:
    folder, store = scene.folder, scene.store
    tell("The store stays until you press Ctrl-C. In another terminal:")
    authenticator = programs() / "flatpass-authenticator"
    show(
        f"{authenticator} --replace &\n"
        f"flatpak --user remote-add --no-gpg-verify flatpass-demo {store.repo_url('apps')}\n"
        f"flatpak --user install flatpass-demo {PAID}\n"
        f"flatpak --user remote-delete --force flatpass-demo   # afterwards\n"
        f"The pages are at {store.url}; the store's folder is {folder / 'store'}.\n"
        f"Operate it: {programs() / 'flatpass'} --config {store.config} account list"
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


play("Demo shop", story, stay if "--stay" in sys.argv else None)
