"""A stock flatpak client signs in, buys and installs, on a terminal."""

from stage.person import answer_yes
from stage.repo import BRANCH, FREE, MUST_BE_BOUGHT, PAID, RUNTIME, SIBLING, app_ref, arch


def installed(person) -> str:
    return person.flatpak("list", "--columns=ref").stdout


def test_a_free_app_installs_without_an_account_and_without_the_authenticator(world):
    ann = world.person("ann")
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    assert ann.authenticator_pid() is None
    assert ann.pages_seen() == []


def test_one_walk_on_the_web_pages_signs_up_buys_and_installs(world):
    ann = world.person("ann")
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + world.store.log()
    pages = ann.pages_seen()
    for step in ("sign up", "buy: ", "pay", "allow", "done: "):
        assert sum(line.startswith(step) for line in pages) == 1, pages
    assert any("5.00" in line for line in pages if line.startswith("buy: ")), pages
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    assert f"{PAID}.Locale" in ann.flatpak("list", "--all", "--columns=ref").stdout
    orders = world.store.json("account", "list")
    assert [account["email"] for account in orders] == [ann.email]


def test_updates_of_a_bought_app_need_nobody(world):
    ann = world.customer("ann")
    before = world.repo.commit(app_ref(PAID))
    after = world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    assert after != before
    ann.end_authenticator()  # an update after the next login
    ann.browser_will("fail")
    ann.flatpak("update", "--noninteractive")
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    assert ann.pages_seen() == []


def test_an_update_takes_the_static_delta_from_a_mirror_that_the_store_lists(mirrored_world):
    world = mirrored_world
    ann = world.person("ann", remote=None)
    ann.flatpak("remote-add", "--no-gpg-verify", "shop", world.mirror.url + "repo/apps")
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + world.store.log()
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True, ballast=100_000)
    world.repo.update(
        "--authenticator-name=org.flatpass.Authenticator", f"--authenticator-option=url={world.store.url}",
        "--generate-static-deltas",
    )
    world.mirror.heads.clear()
    ann.flatpak("update", "--noninteractive", PAID)
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    commit = world.repo.commit(app_ref(PAID))
    paths = world.mirror.paths()
    assert any("/deltas/" in path and path.endswith("/0") for path in paths), paths
    # The commit came inside the delta. (libostree fetches some file objects beside a delta when it is quicker so.)
    assert not any(path.endswith(f"{commit[2:]}.commit") for path in paths), paths
    delta = [head for head in world.mirror.heads if "/deltas/" in head]
    assert all("authorization: bearer ey" in head.lower() for head in delta)


def test_an_older_commit_can_be_asked_for_by_its_checksum(world):
    first = world.repo.commit(app_ref(PAID))
    ann = world.customer("ann")
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    ann.flatpak("update", "--noninteractive")
    ann.end_authenticator()
    ann.flatpak("update", "--noninteractive", f"--commit={first}", PAID)
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout


def test_a_second_app_is_bought_with_the_sign_in_of_the_first(world):
    ann = world.customer("ann")
    code, text = ann.install_at_terminal("shop", SIBLING)
    assert code == 0, text + ann.session_log() + world.store.log()
    pages = ann.pages_seen()
    assert any(line.startswith("buy: ") and "20.00" in line for line in pages), pages
    assert not any(line == "sign up" for line in pages), pages


def test_two_people_at_once_each_get_what_they_bought(world):
    people = [world.person("ann"), world.person("bob")]
    windows = [person.at_terminal("flatpak", "--user", "install", "shop", PAID) for person in people]
    for person, window in zip(people, windows):
        code, text = answer_yes(window)
        assert code == 0, text + person.session_log() + world.store.log()
        assert f"{PAID}/{arch()}/{BRANCH}" in installed(person)
    assert len(world.store.json("account", "list")) == 2


def test_two_clients_of_one_person_share_one_sign_in(world):
    ann = world.person("ann")
    ann.run("flatpak", "--user", "install", "-y", "shop", RUNTIME)
    elsewhere = {"FLATPAK_USER_DIR": str(ann.home / "second-installation")}
    ann.run("env", *(f"{k}={v}" for k, v in elsewhere.items()), "flatpak", "--user", "remote-add", "--no-gpg-verify",
            "shop", world.store.repo_url("apps"))
    first = ann.at_terminal("flatpak", "--user", "install", "shop", PAID)
    second = ann.at_terminal("env", *(f"{k}={v}" for k, v in elsewhere.items()),
                             "flatpak", "--user", "install", "shop", PAID)
    assert answer_yes(first)[0] == 0, ann.session_log()
    assert answer_yes(second)[0] == 0, ann.session_log()
    pages = ann.pages_seen()
    assert sum(line == "sign up" for line in pages) == 1, pages
    assert sum(line == "pay" for line in pages) == 1, pages
