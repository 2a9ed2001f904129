"""The story that ./demo oci plays: free, paid and private apps in container registries, with Debian's docker-registry and skopeo."""

import datetime
import json
import signal
import sys
import time
from pathlib import Path

from stage.images import Images, Layout, repository, skopeo, tag
from stage.person import Person
from stage.registry import Notified, Registry, Token
from stage.repo import FREE, LEDGER, PAID, WIKI, app_ref
from stage.store import Store, programs
from stage.story import Scene, must, play, show, tell

MARKET, INTERNAL, HOSTED = "market", "internal", "hosted"
PATIENCE = 20  # seconds in which a push must be seen
SUBSCRIPTION = 3  # seconds that the last days of a subscription take in this story


def until(what: str, is_so) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        must(time.monotonic() < deadline, f"not within {PATIENCE} seconds: {what}")
        time.sleep(0.05)


def says(person: Person, app: str) -> str:
    said = person.run("flatpak", "run", app).stdout
    show(f"$ flatpak run {app}\n{said}")
    return said


class Publisher:
    """Pushes with skopeo, signed in at the registry with the secret of a robot."""

    def __init__(self, folder: Path, registry: Registry, secret: str):
        self.folder = folder
        self.registry = registry
        done = skopeo(folder, "login", "--tls-verify=false", "--username", "ci", "--password", secret, registry.host)
        show(f"$ skopeo login --username ci {registry.host}\n{done.stdout}")

    def push(self, layout: Layout, ref: str, namespace: str) -> None:
        target = f"{self.registry.host}/{repository(ref, namespace)}:{tag(ref)}"
        skopeo(self.folder, "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout.path}:{ref}", f"docker://{target}")
        show(f"$ skopeo copy oci:layout:{ref} docker://{target}")


def settings(added: dict, registry: Registry, store: Store, repo: str) -> Token:
    """What `repo add` says that the registry must be told, with the certificates beside."""
    told = added["registry"]["settings"]
    certificates = registry.folder / "flatpass.pem"
    certificates.write_text(store.command("repo", "certificates", repo).stdout)
    return Token(told["realm"], told["service"], told["issuer"], certificates)


def story(scene: Scene) -> None:
    registry = Registry(scene.folder / "registry")
    theirs = Registry(scene.folder / "hosted-registry")
    hoster = Store(scene.folder / "hoster", programs(), name="Hoster")
    scene.beside(registry, theirs, hoster)
    shop(scene, scene.folder, scene.store, registry)
    company(scene, scene.folder, scene.store, registry)
    hosted(scene, scene.folder, scene.store, theirs, hoster)


def shop(scene: Scene, folder: Path, store: Store, registry: Registry) -> None:
    tell(f"1. A publisher has a container registry at {registry.host}: Debian's docker-registry. The store says what to tell it.")
    added = store.json("repo", "add", MARKET, registry.source("shop"), "--policy", "refs", "--webhook")
    registry.auth = settings(added, registry, store, MARKET)
    registry.notified = Notified(added["webhook"]["url"], {"Authorization": f"Bearer {added['webhook']['secret']}"})
    show(json.dumps(registry.auth.settings(), indent=2))
    store.command("app", "price", MARKET, PAID, "5.00", "EUR")
    store.start()
    registry.start()
    show(f"$ flatpass repo check {MARKET}\n{store.command('repo', 'check', MARKET, check=False).stdout}")

    tell("2. The publisher makes images with flatpak's own tools and pushes them with skopeo. A robot of the store may push.")
    store.command("robot", "add", "ci")
    store.command("repo", "role", MARKET, "robot/ci", "publisher")
    images = Images(folder / "images")
    refused = skopeo(folder / "nobody", "copy", "--dest-tls-verify=false", f"oci:{images.layout.path}:{app_ref(FREE)}",
                     f"docker://{registry.host}/{repository(app_ref(FREE), 'shop')}:stable", check=False)
    must(refused.returncode != 0, "somebody without a secret could push")
    publisher = Publisher(folder / "publisher", registry, store.json("robot", "secret", "ci")["secret"])
    for ref in images.layout.refs():
        publisher.push(images.layout, ref, "shop")

    def listed() -> dict[str, str]:
        status, _, body = store.get(f"repo/{MARKET}/index/static")
        results = json.loads(body)["Results"] if status == 200 else []
        return {image["Labels"]["org.flatpak.ref"]: image["Digest"] for result in results for image in result["Images"]}

    until("the store lists what was pushed", lambda: set(listed()) == set(images.layout.refs()))
    show(f"$ curl {store.repo_url(MARKET)}/index/static\n" + "\n".join(f"{ref} {digest[:19]}…" for ref, digest in listed().items()))

    tell("3. Ann adds the shop and installs the free app. No account, no sign-in.")
    ann = scene.person("ann")
    added_remote = ann.run("flatpass-authenticator", "remote-add", "--user", store.repo_url(MARKET), "shop")
    show(f"$ flatpass-authenticator remote-add --user {store.repo_url(MARKET)} shop\n{added_remote.stdout}")
    ann.flatpak("install", "-y", "shop", FREE)
    must("free as can be" in says(ann, FREE) and ann.pages_seen() == [], "the free app needed more than flatpak")

    tell("4. The registry gives the paid image to nobody without an entitlement, whatever tool asks.")
    image = f"docker://{registry.host}/{repository(app_ref(PAID), 'shop')}:stable"
    refused = skopeo(folder / "nobody", "inspect", "--tls-verify=false", image, check=False)
    show(f"$ skopeo inspect {image}\n{refused.stderr.split('msg=')[-1]}")
    must(refused.returncode != 0 and "needs an account" in refused.stderr, "the registry gave a paid image away")

    tell("5. Ann types flatpak install. Her browser opens; she signs up, pays 5.00 EUR (the sandbox takes no money), says yes.")
    code, text = ann.install_at_terminal("shop", PAID)
    show("\n".join(f"browser: {line}" for line in ann.pages_seen()))
    must(code == 0, f"the installation failed:\n{text}\n{ann.session_log()}\n{store.log()}")
    must("paid, version 1" in says(ann, PAID), "the paid app does not run")

    tell("6. Bob does not buy; he has a subscription that the publisher gave him for a time.")
    bob = scene.person("bob")
    store.command("account", "add", bob.email, stdin=bob.password + "\n")
    store.command("grant", bob.email, MARKET, PAID, "--until", "2099-12-31")
    store.settle()
    bob.has_account = True
    bob.browser_will("sign-in")
    bob.run("flatpass-authenticator", "remote-add", "--user", store.repo_url(MARKET), "shop")
    code, text = bob.install_at_terminal("shop", PAID)
    show("\n".join(f"browser: {line}" for line in bob.pages_seen()))
    must(code == 0, f"the installation failed:\n{text}\n{bob.session_log()}\n{store.log()}")
    must("paid, version 1" in says(bob, PAID), "the paid app does not run for a subscriber")

    tell("7. He cancels, his subscription ends, and then version 2 is pushed. Ann's machine updates at night; Bob's gets a sentence.")
    store.command("revoke", bob.email, MARKET, PAID)
    ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=SUBSCRIPTION)
    show(store.command("grant", bob.email, MARKET, PAID, "--until", ends.strftime("%Y-%m-%dT%H:%M:%SZ")).stdout.splitlines()[0])
    images.export_paid("paid, version 2")
    for ref in (app_ref(PAID), f"runtime/{PAID}.Locale/{app_ref(PAID).split('/', 2)[2]}"):
        publisher.push(images.layout, ref, "shop")
    until("the store has seen the push", lambda: listed().get(app_ref(PAID)) == images.layout.digest(app_ref(PAID)))
    until("the subscription has ended", lambda: datetime.datetime.now(datetime.timezone.utc) > ends)
    for person in (ann, bob):
        person.end_authenticator()
        person.browser_will("fail")
    ann.flatpak("update", "--noninteractive")
    must("paid, version 2" in says(ann, PAID), "the update of who bought needed somebody")
    refused = bob.flatpak("update", "--noninteractive", check=False)
    show(f"bob$ flatpak update\n{refused.stdout}")
    told = "Your right to" in refused.stdout and "ended on" in refused.stdout
    must(refused.returncode != 0 and told, "Bob was not told why there is no update")
    must("paid, version 1" in says(bob, PAID), "what Bob had is gone")

def company(scene: Scene, folder: Path, store: Store, registry: Registry) -> None:
    tell("8. The same registry has a company's apps below another name. There the list is secret, too.")
    store.command("repo", "add", INTERNAL, registry.source("acme"), "--policy", "private")
    store.command("repo", "role", INTERNAL, "robot/ci", "publisher")
    store.command("group", "add", "staff")
    for app in (WIKI, "org.test.Platform"):
        store.command("grant", "--group", "staff", INTERNAL, app)
    store.settle()
    publisher = Publisher(folder / "publisher", registry, store.json("robot", "secret", "ci")["secret"])
    images = Images(folder / "company")
    images.export(WIKI, "the wiki")
    images.export(LEDGER, "the ledger")
    for ref in images.layout.refs():
        if "org.test.Platform" in ref or WIKI in ref or LEDGER in ref:
            publisher.push(images.layout, ref, "acme")
    there, absent = store.get(f"repo/{INTERNAL}/index/static"), store.get("repo/no-such-repo/index/static")
    show(f"$ curl …/repo/{INTERNAL}/index/static\n{there[0]} {there[2].decode()}")
    must(there[0] == absent[0] == 401, "an outsider could tell a private repository from none")

    tell("9. Cleo is in the group. The remote that she adds has a secret of this device in its path; it lists what staff may see.")
    cleo = scene.person("cleo")
    store.command("account", "add", cleo.email, stdin=cleo.password + "\n")
    store.command("group", "add-member", "staff", cleo.email)
    cleo.has_account = True
    cleo.browser_will("sign-in")
    store.restart()  # which looks at the registry at once: this namespace has no notifications of its own
    added = cleo.run("flatpass-authenticator", "remote-add", "--user", store.repo_url(INTERNAL), INTERNAL)
    show("\n".join(f"browser: {line}" for line in cleo.pages_seen()) + "\n" + added.stdout)

    def apps() -> str:
        return cleo.flatpak("remote-ls", "--columns=application", INTERNAL, check=False).stdout

    until("Cleo's list has the wiki", lambda: WIKI in apps())
    show(f"$ flatpak remote-ls {INTERNAL}\n{apps()}")
    must(LEDGER not in apps(), "Cleo sees what staff may not see")
    cleo.flatpak("install", "-y", INTERNAL, WIKI)
    must("the wiki" in says(cleo, WIKI), "the wiki does not run")

    tell("10. She leaves the company. Her list is closed within a second, and the registry gets no more tokens for her.")
    store.command("group", "remove-member", "staff", cleo.email)
    store.settle()
    refused = cleo.flatpak("remote-ls", INTERNAL, check=False)
    show(f"$ flatpak remote-ls {INTERNAL}\n{refused.stdout}")
    must(WIKI not in refused.stdout, "Cleo's device still sees the list")


def hosted(scene: Scene, folder: Path, store: Store, registry: Registry, hoster: Store) -> None:
    tell(f"11. Another registry, {registry.host}, is somebody else's, with accounts and tokens of its own.")
    added = hoster.json("repo", "add", "acme", registry.source("acme"), "--policy", "private")
    registry.auth = settings(added, registry, hoster, "acme")
    for name in ("ci", "shop"):
        hoster.command("robot", "add", name)
    hoster.command("repo", "role", "acme", "robot/ci", "publisher")
    hoster.command("grant", "robot/shop", "acme", "*")
    hoster.start()
    registry.start()
    images = Images(folder / "hosted")
    publisher = Publisher(folder / "publisher-there", registry, hoster.json("robot", "secret", "ci")["secret"])
    for ref in images.layout.refs():
        publisher.push(images.layout, ref, "acme")
    hoster.restart()  # which looks at the registry at once

    tell("12. The store gets an account there that may pull. Its password never leaves the store.")
    password = folder / "password"
    password.write_text(hoster.json("robot", "secret", "shop")["secret"])
    names = [argument for ref in images.layout.refs() for argument in ("--repository", repository(ref, "acme"))]
    argv = ["repo", "add", HOSTED, registry.source("acme"), "--robot", "shop", "--password-file", str(password), *names]
    show(store.command(*argv).stdout)
    store.command("app", "price", HOSTED, PAID, "8.00", "EUR")

    def checked() -> str:
        return store.command("repo", "check", HOSTED, check=False).stdout

    until("the registry knows the store's account", lambda: "all is well" in checked())
    show(f"$ flatpass repo check {HOSTED}\n{checked()}")
    store.restart()
    until("the store lists what is there", lambda: PAID in store.get(f"repo/{HOSTED}/index/static")[2].decode())

    tell("13. Dan has never heard of the hoster. He buys from the store, which fetches one of the registry's own tokens for him.")
    dan = scene.person("dan")
    dan.run("flatpass-authenticator", "remote-add", "--user", store.repo_url(HOSTED), "shop")
    code, text = dan.install_at_terminal("shop", PAID)
    show("\n".join(f"browser: {line}" for line in dan.pages_seen()))
    must(code == 0, f"the installation failed:\n{text}\n{dan.session_log()}\n{store.log()}")
    must("paid, version 1" in says(dan, PAID), "the paid app does not run")
    image = f"docker://{registry.host}/{repository(app_ref(PAID), 'acme')}:stable"
    refused = skopeo(folder / "nobody", "inspect", "--tls-verify=false", image, check=False)
    must(refused.returncode != 0, "the hosted registry gave a paid image away")


def stay(scene: Scene) -> None:
    store, authenticator = scene.store, programs() / "flatpass-authenticator"
    tell("The store and the registries stay until you press Ctrl-C. In another terminal:")
    show(
        f"{authenticator} --replace &\n"
        f"{authenticator} remote-add --user {store.repo_url(MARKET)} flatpass-demo\n"
        f"flatpak --user install flatpass-demo {PAID}\n"
        f"flatpak --user remote-delete --force flatpass-demo   # afterwards\n"
        f"The pages are at {store.url}; the store's folder is {scene.folder / 'store'}.\n"
        f"Operate it: {programs() / 'flatpass'} --config {store.config} repo list"
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


play("Image shop", story, stay if "--stay" in sys.argv else None)
