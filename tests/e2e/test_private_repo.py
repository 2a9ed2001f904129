"""A private repo with the access token of a device in the remote's URL (HTTP Basic), which stock Flatpak sends with every request."""

from stage.repo import FREE, PAID


def test_an_outsider_learns_nothing(private_world):
    eve = private_world.person("eve", remote=None)
    done = eve.flatpak("remote-add", "--no-gpg-verify", "shop", private_world.store.repo_url("apps"), check=False)
    eve.flatpak("remote-add", "--if-not-exists", "--no-gpg-verify", "shop", private_world.store.repo_url("apps"), check=False)
    done = eve.flatpak("remote-ls", "shop", check=False)
    assert done.returncode != 0
    assert "org.test" not in done.stdout
    there = private_world.store.get("repo/apps/summary")
    absent = private_world.store.get("repo/apps/no-such-file")
    assert there[0] == absent[0] == 401
    assert there[2] == absent[2]


def test_a_device_with_its_secret_in_the_url_lists_and_installs_open_and_paid_apps(private_world):
    world = private_world
    ann = world.person("ann", remote=None)
    world.store.command("account", "add", ann.email, stdin=ann.password + "\n")
    # A secret opens what its account may have: here to see everything, so what is free may be had.
    world.store.command("grant", ann.email, "apps", "*", "--verbs", "list")
    made = world.store.json("access-token", "add", ann.email, "apps", "--name", "laptop")
    secret = made["secret"]
    world.store.settle()
    url = world.store.repo_url("apps").replace("http://", f"http://device:{secret}@")
    ann.flatpak("remote-add", "--no-gpg-verify", "shop", url)
    assert PAID in ann.flatpak("remote-ls", "--columns=application", "shop").stdout
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    ann.has_account = True
    ann.browser_will("buy")
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + world.store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
