"""Registries that lie, and clients that must not believe them."""

import pytest

from stage.detour import Answer, Host, Seen, Storehouse
from stage.images import Images, repository
from stage.oci_market import OURS, Market, forget_catalogues, installed, refs, refused, wait_for, write_auth
from stage.plain_index import PlainIndex
from stage.repo import FREE, PAID, RUNTIME, app_ref

PAID_IMAGE = repository(app_ref(PAID), "shop")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def lying_market(tmp_path_factory, images):
    market = Market(tmp_path_factory.mktemp("lying"), images, behind_detour=True)
    yield market
    market.end()


@pytest.fixture
def lying(lying_market):
    yield lying_market
    lying_market.detour.change = lambda _, answer: answer


def other_byte(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]


@pytest.mark.parametrize("what", ["manifests", "blobs"])
def test_a_registry_that_changes_a_byte_is_found_out_and_nothing_is_installed(lying, what):
    bob = lying.customer(f"bob-{what}", PAID)
    bob.flatpak("install", "-y", "shop", RUNTIME)

    def change(seen: Seen, answer: Answer) -> Answer:
        if seen.method == "GET" and f"/{what}/" in seen.path and PAID_IMAGE + "/" in seen.path and answer.status == 200:
            return Answer(200, answer.headers, other_byte(answer.body))
        return answer

    lying.detour.change = change
    told = refused(bob, "install", "--noninteractive", "-y", "shop", PAID)
    assert "Checksum for digest" in told, told
    assert f"{PAID}/" not in installed(bob)
    assert not (bob.home / f".local/share/flatpak/app/{PAID}").exists()
    # With another registry in its place nothing of it is left.
    lying.detour.change = lambda _, answer: answer
    bob.flatpak("install", "-y", "shop", PAID)
    assert f"{PAID}/" in installed(bob)


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
        forget_catalogues(lying.store)
        lying.store.start()
        wait_for(lambda: app_ref(PAID) in refs(lying.store), lying.store)
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
    forget_catalogues(lying.store)
    lying.store.start()
    wait_for(lambda: app_ref(FREE) in refs(lying.store), lying.store)
    assert app_ref(PAID) not in refs(lying.store)
    assert "more than" in lying.store.log(), lying.store.log()
    ann = lying.person("endless")
    ann.flatpak("install", "-y", "shop", FREE)
    lying.detour.change = lambda _, answer: answer
    lying.store.stop()
    forget_catalogues(lying.store)
    lying.store.start()
    wait_for(lambda: app_ref(PAID) in refs(lying.store), lying.store)


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
        wait_for(lambda: registry.endless_bytes, lying.store)
        assert max(registry.endless_bytes) < 32 * 1024 * 1024, registry.endless_bytes
        ann.flatpak("install", "-y", "shop", FREE)
    finally:
        plain.end()
        registry.end()
