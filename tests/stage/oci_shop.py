"""A store whose repo `images` is in a registry that trusts it: Debian's docker-registry, with what `Images` has below `shop/`."""

import time
from pathlib import Path

from stage.detour import Detour
from stage.images import Images, Login
from stage.registry import Registry, Token
from stage.repo import PAID
from stage.store import Store, programs


class OciShop:
    """The paid app has its price. `policy` is the repo's. `behind_detour`: the store and people know the registry by
    the host of `detour`."""

    def __init__(self, folder: Path, images: Images, policy: str = "refs", behind_detour: bool = False):
        self.folder = folder
        self.images = images
        self.store = Store(folder / "store", programs())
        self.registry = Registry(folder / "registry")
        self.detour = Detour(self.registry.port) if behind_detour else None
        source = (self.detour or self.registry).source("shop")
        added = self.store.json("repo", "add", "images", source, "--policy", policy)
        settings = added["registry"]["settings"]
        certificates = folder / "flatpass.pem"
        certificates.write_text(self.store.command("repo", "certificates", "images").stdout)
        self.registry.auth = Token(settings["realm"], settings["service"], settings["issuer"], certificates)
        self.store.command("app", "price", "images", PAID, "5.00", "EUR")
        self.store.command("robot", "add", "ci")
        self.publisher = Login("ci", self.store.json("robot", "secret", "ci")["secret"])
        self.store.command("repo", "role", "images", "robot/ci", "publisher")

    def start(self) -> "OciShop":
        self.registry.start()
        self.store.start()
        self.images.layout.push_all(self.registry.host, "shop", self.publisher)
        self.store.restart()  # which looks at the registry at once
        seen = f"images={len(self.images.layout.refs())}\n"
        deadline = time.monotonic() + 20
        while seen not in self.store.log():
            assert time.monotonic() < deadline, self.store.log()
            time.sleep(0.05)
        self.store.settle()
        return self

    @property
    def where(self) -> str:
        """STORE/REPO, as a person types it."""
        return self.store.repo_url("images").removeprefix("http://").replace("/repo/", "/")

    def account(self, name: str, *apps: str) -> Login:
        """Somebody whom the store knows, and who may have these apps. What to log in with at the registry is an access token."""
        email = f"{name}@example.org"
        self.store.command("account", "add", email, stdin="correct horse battery\n")
        for app in apps:
            self.store.command("grant", email, "images", app)
        secret = self.store.json("access-token", "add", email, "images", "--name", "registry")["secret"]
        self.store.settle()
        return Login(name, secret)

    def end(self) -> None:
        self.registry.stop()
        self.store.kill()
        if self.detour:
            self.detour.end()
