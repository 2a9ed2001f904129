"""A right to older versions: what is kept, what is refused and what the person reads (flatpak shows no other text of ours)."""

from datetime import datetime

from stage.repo import FREE, MUST_BE_BOUGHT, PAID, app_ref


def made_at(world, commit: str) -> datetime:
    """When a commit says it was made."""
    line = next(line for line in world.repo.ostree("show", commit).splitlines() if line.startswith("Date:"))
    return datetime.strptime(line.removeprefix("Date:").strip(), "%Y-%m-%d %H:%M:%S %z")


def publish(world, version: int) -> str:
    commit = world.repo.export_app(PAID, f"paid, version {version}", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    world.store.settle()
    return commit


def version(person) -> str:
    return person.run("flatpak", "run", PAID).stdout.strip().removeprefix("paid, version ")


def test_updates_end_and_the_version_that_was_bought_stays(world):
    first = world.repo.commit(app_ref(PAID))
    ann = world.customer("ann")
    second = publish(world, 2)
    ann.flatpak("update", "--noninteractive")
    assert version(ann) == "2"

    # What was bought is replaced by a right to what there is now.
    until = made_at(world, second)
    world.store.command("revoke", ann.email, "apps", PAID)
    world.store.command("grant", ann.email, "apps", PAID, "--upgrades-until", until.strftime("%Y-%m-%dT%H:%M:%SZ"))
    third = publish(world, 3)
    world.repo.export_app(FREE, "free, version 2")
    world.repo.name_authenticator(world.store.url)
    ann.end_authenticator()  # an update of another day
    ann.browser_will("fail")
    sentence = f"Your right to updates of {PAID} ended on {until:%Y-%m-%d}. The version you have keeps working."

    def refused(*argv: str) -> None:
        done = ann.flatpak(*argv, check=False)
        text = " ".join(done.stdout.split())
        assert done.returncode != 0 and sentence in text, done.stdout + ann.session_log() + world.store.log()
        assert f"{world.store.url}apps/apps/{PAID}" in text

    refused("update", "--noninteractive")
    refused("update", "-y")
    assert version(ann) == "2"
    # Without a token for one app flatpak updates no other either, which is why the sentence names the way around.
    ann.flatpak("install", "-y", "shop", FREE)
    world.repo.export_app(FREE, "free, version 3")
    world.repo.name_authenticator(world.store.url)
    refused("update", "--noninteractive")
    assert "version 2" in ann.run("flatpak", "run", FREE).stdout
    ann.flatpak("mask", PAID)
    ann.flatpak("update", "--noninteractive")
    assert "version 3" in ann.run("flatpak", "run", FREE).stdout
    ann.flatpak("mask", "--remove", PAID)

    # Older versions can be had by their checksum, newer ones cannot.
    ann.flatpak("update", "--noninteractive", f"--commit={first}", PAID)
    assert version(ann) == "1"
    refused("update", "--noninteractive", f"--commit={third}", PAID)
    ann.flatpak("update", "--noninteractive", f"--commit={second}", PAID)
    assert version(ann) == "2"
    refused("update", "--noninteractive")
    assert ann.pages_seen() == []

    # flatpak installs the newest version and no other.
    ann.flatpak("uninstall", "-y", PAID)
    refused("install", "--noninteractive", "shop", PAID)

    # Whoever renews it, on the page that the sentence names, has all of it.
    ann.browser_will("buy")
    ann.visit(f"{world.store.url}apps/apps/{PAID}")
    assert "pay" in ann.pages_seen()
    ann.flatpak("install", "--noninteractive", "shop", PAID)
    assert version(ann) == "3"
