"""What a person sees, in the stock client, when something is in the way. Every sentence says what to do next."""

import socket
import ssl
import subprocess
import threading
import time

import pytest

from stage.passage import Passage
from stage.person import answer_yes
from stage.repo import MUST_BE_BOUGHT, PAID, SIBLING
from stage.store import free_port, self_signed


def refused(person, *argv: str) -> str:
    done = person.flatpak(*argv, check=False)
    assert done.returncode != 0, done.stdout
    return done.stdout


def installed(person) -> str:
    return person.flatpak("list", "--all", "--columns=ref").stdout


def test_without_an_account_and_without_interaction_the_message_names_the_command(world):
    ann = world.person("ann")
    text = refused(ann, "install", "--noninteractive", "shop", PAID)
    assert f"flatpass-authenticator login {world.store.url}" in text
    assert ann.pages_seen() == []
    assert PAID not in installed(ann)


def test_another_account_does_not_get_what_somebody_bought(world):
    world.customer("ann")
    bob = world.person("bob")
    bob.browser_will("sign-in")
    code, text = bob.install_at_terminal("shop", PAID)
    assert code != 0
    assert PAID not in installed(bob), text


def test_who_bought_one_app_is_asked_to_buy_another_whose_id_begins_alike(world):
    ann = world.customer("ann")
    text = refused(ann, "install", "--noninteractive", "shop", SIBLING)
    assert SIBLING in text and world.store.url in text, text
    assert SIBLING not in installed(ann)


def test_no_at_the_prompt_cancels(world):
    ann = world.person("ann")
    window = ann.at_terminal("flatpak", "--user", "install", "shop", PAID)
    text = ""
    while True:
        found = window.expect([r"Open browser\? \[Y/n\]:? ?", r"\[Y/n\]: ?"])
        text += window.before
        window.sendline("n" if found == 0 else "y")
        if found == 0:
            break
    window.expect("ancel")
    answer_yes(window)
    assert PAID not in installed(ann)
    assert ann.pages_seen() == []


def wait_for(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def listeners(pid: int) -> int:
    """How many TCP sockets a process listens on."""
    shown = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    return sum(f"pid={pid}," in line for line in shown.splitlines())


def test_ctrl_c_while_the_browser_is_open_leaves_no_listener_and_a_second_try_works(world):
    ann = world.person("ann")
    ann.browser_will("close")
    window = ann.at_terminal("flatpak", "--user", "install", "shop", PAID)
    for _ in range(10):
        if window.expect([r"Waiting for browser", r"\[Y/n\]:? ?"]) == 0:
            break
        window.sendline("y")
    pid = ann.authenticator_pid()
    assert listeners(pid) == 1
    window.sendintr()
    answer_yes(window)
    wait_for(lambda: listeners(pid) == 0)
    ann.browser_will("buy")
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log()


def test_a_browser_that_cannot_be_started_ends_the_request(world):
    ann = world.person("ann")
    ann.env["BROWSER"] = "/nonexistent/browser"
    window = ann.at_terminal("flatpak", "--user", "install", "shop", PAID)
    code, _ = answer_yes(window)
    assert code != 0
    assert PAID not in installed(ann)


@pytest.mark.parametrize("plan", ["deny", "decline"])
def test_who_says_no_on_the_pages_gets_nothing_and_pays_nothing(world, plan):
    ann = world.person("ann")
    ann.browser_will(plan)
    code, text = ann.install_at_terminal("shop", PAID)
    assert code != 0, text
    assert PAID not in installed(ann)


def test_a_revoked_entitlement_ends_when_its_token_does(closed_world):
    world = closed_world
    world.store.set("tokens", ref_token_seconds=60)
    world.start()
    ann = world.customer("ann")
    world.store.command("revoke", ann.email, "apps", PAID)
    world.store.settle()
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    ann.end_authenticator()
    text = refused(ann, "update", "--noninteractive")
    assert PAID in text and world.store.url in text, text
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout


def test_an_expired_token_is_replaced_without_asking_anybody(closed_world):
    world = closed_world
    world.store.set("tokens", ref_token_seconds=2)
    world.start()
    ann = world.customer("ann")
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    time.sleep(3)
    ann.browser_will("fail")
    ann.flatpak("update", "--noninteractive")
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout


def test_a_store_that_is_down_is_named(world):
    ann = world.customer("ann")
    ann.flatpak("remote-modify", "--authenticator-option=url=http://127.0.0.1:1/", "shop")
    ann.flatpak("uninstall", "-y", PAID)
    # The summary still names the true store, so a store that is down is played by one that cannot be reached.
    world.repo.name_authenticator("http://127.0.0.1:1/")
    text = refused(ann, "install", "--noninteractive", "shop", PAID)
    assert "127.0.0.1:1" in text, text


def test_a_url_that_is_no_store_is_told_from_one_that_is_down(world):
    ann = world.person("ann")
    world.repo.name_authenticator(world.store.url + "no-store-here/")
    text = refused(ann, "install", "--noninteractive", "shop", PAID)
    assert "no-store-here" in text, text


def test_a_certificate_that_nobody_vouches_for_is_refused(world, tmp_path):
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = free_port()
    listener = socket.create_server(("127.0.0.1", port))

    def shake_hands():
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(raw, server_side=True).close()
            except (ssl.SSLError, OSError):
                raw.close()

    threading.Thread(target=shake_hands, daemon=True).start()
    try:
        ann = world.person("ann")
        world.repo.name_authenticator(f"https://localhost:{port}/")
        text = refused(ann, "install", "--noninteractive", "shop", PAID)
        assert "certificate" in text.lower(), text
    finally:
        listener.close()


def test_a_hostile_remote_that_names_somebody_elses_store_gets_no_token(world):
    """Threat 5: the same content on another URL, with the true store as its authenticator."""
    ann = world.customer("ann")
    trap = Passage()
    trap.lead_to(world.store.port)
    try:
        ann.flatpak("uninstall", "-y", PAID)
        ann.flatpak("remote-add", "--no-gpg-verify", "trap", trap.url + "repo/apps")
        text = refused(ann, "install", "--noninteractive", "trap", PAID)
        assert trap.heads and not any("authorization" in head.lower() for head in trap.heads)
        assert "127.0.0.1" in text, text
    finally:
        trap.close()
