"""kill -9 at any moment of a purchase loses nothing that was confirmed and charges nothing twice."""

import http.client
import http.cookiejar
import random
import re
import sqlite3
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from stage.repo import PAID

SEED = 20261123
SHOPPERS = 60


class Shopper:
    """Somebody who presses the button again after each error page, as people do."""

    def __init__(self, store, name: str):
        self.store = store
        self.email = f"{name}@example.org"
        self._web = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.confirmed = False

    def _open(self, path: str, form: dict[str, str] | None = None) -> str:
        url = urllib.parse.urljoin(self.store.url, path)
        data = urllib.parse.urlencode(form).encode() if form else None
        deadline = time.monotonic() + 30
        while True:
            try:
                with self._web.open(urllib.request.Request(url, data=data), timeout=10) as answer:
                    self.at = answer.url
                    return answer.read().decode()
            except urllib.error.HTTPError as refused:
                self.at = url
                return refused.read().decode()
            except (urllib.error.URLError, ConnectionError, OSError, http.client.HTTPException):
                if form is not None:
                    return ""  # nobody knows whether it arrived: look again before pressing again
                assert time.monotonic() < deadline, f"{url} stays out of reach"
                time.sleep(0.02)

    def _press(self, page: str, **values: str) -> str:
        action = re.search(r'<form method="post" action="([^"]+)"(?![^<]*sign-out)', page.split("<main>")[-1])
        token = re.search(r'name="csrf" value="([^"]+)"', page.split("<main>")[-1])
        if not action or not token:
            return ""
        return self._open(action.group(1), {"csrf": token.group(1), **values})

    def sign_up(self) -> None:
        for _ in range(50):
            if "id=\"sign-out\"" in self._open("/account"):
                return
            self._press(self._open("/sign-up"), email=self.email, password="correct horse battery")
            if "id=\"sign-out\"" not in self._open("/account"):
                self._press(self._open("/sign-in"), email=self.email, password="correct horse battery")
        raise AssertionError(f"{self.email} cannot sign in")

    def buy(self) -> None:
        for _ in range(100):
            offer = self._open(f"/apps/apps/{PAID}")
            if "You have this app" in offer:
                self.confirmed = True
                return
            page = self._press(offer)
            if 'id="pay"' in page:
                self._press(page, outcome="paid")
        raise AssertionError(f"{self.email} never got the app")


def test_kill_at_random_moments_of_purchases_loses_nothing_and_charges_nothing_twice(closed_world):
    world = closed_world
    world.store.set("limits", sign_in_per_minute=100_000)
    world.start()
    dice = random.Random(SEED)
    shoppers = [Shopper(world.store, f"shopper{number}") for number in range(SHOPPERS)]
    for shopper in shoppers:
        shopper.sign_up()
    errors: list[BaseException] = []

    def shop(some: list[Shopper]) -> None:
        try:
            for shopper in some:
                shopper.buy()
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            errors.append(error)

    walks = [threading.Thread(target=shop, args=(shoppers[start::3],)) for start in range(3)]
    for walk in walks:
        walk.start()
    kills = 0
    while any(walk.is_alive() for walk in walks):
        time.sleep(dice.uniform(0.001, 0.04))
        world.store.kill()
        kills += 1
        world.store.start()
    for walk in walks:
        walk.join()
    assert not errors, errors[0]
    assert kills >= 5, "the purchases were over before anything was killed"
    assert all(shopper.confirmed for shopper in shoppers)

    world.store.restart()
    world.store.stop()
    with sqlite3.connect(world.store.folder / "flatpass.db") as database:
        counted = dict(database.execute(
            "SELECT email, COUNT(*) FROM orders JOIN accounts ON accounts.id = account_id"
            " WHERE state = 'paid' GROUP BY email"
        ).fetchall())
        assert counted == {shopper.email: 1 for shopper in shoppers}
        charged = dict(database.execute(
            "SELECT email, COUNT(*) FROM sandbox_payments JOIN orders ON orders.id = order_id"
            " JOIN accounts ON accounts.id = account_id WHERE sandbox_payments.state = 'paid' GROUP BY email"
        ).fetchall())
        assert charged == counted
        owned = database.execute(
            "SELECT COUNT(*) FROM entitlements WHERE revoked_at IS NULL AND source_kind = 'order'"
        ).fetchone()[0]
        assert owned == SHOPPERS
