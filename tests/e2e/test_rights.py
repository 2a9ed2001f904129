"""Rights that come by a group, a plan or a branch, with the real flatpak."""

from stage.repo import MUST_BE_BOUGHT, PAID, SIBLING, app_ref, arch


def member(world, name: str):
    """Somebody with an account, and the remote of the public repo."""
    person = world.person(name)
    world.store.command("account", "add", person.email, stdin=person.password + "\n")
    person.has_account = True
    person.browser_will("sign-in")
    return person


def test_a_plan_opens_to_a_proved_address_of_the_group_s_domain_and_ends_with_it(world):
    store = world.store
    store.command("plan", "add", "suite", "--title", "The suite")
    store.command("plan", "include", "suite", "apps", PAID)
    store.command("group", "add", "acme", "--title", "Acme")
    store.command("group", "domain", "acme", "example.org")
    store.command("grant", "--group", "acme", "--plan", "suite")
    ann = member(world, "ann")

    # An address that nobody proved is worth nothing.
    code, text = ann.install_at_terminal("shop", PAID)
    assert code != 0, text
    store.command("account", "verify", ann.email)
    store.settle()
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + store.log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout

    # What is not in the plan is not theirs; put into it, it is, and taken out, the next version is not.
    code, text = ann.install_at_terminal("shop", SIBLING)
    assert code != 0, text
    store.command("plan", "include", "suite", "apps", SIBLING)
    store.settle()
    ann.flatpak("install", "--noninteractive", "shop", SIBLING)
    store.command("plan", "exclude", "suite", "apps", PAID)
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.export_app(SIBLING, "sibling, version 2", token_type=MUST_BE_BOUGHT)
    world.repo.name_authenticator(store.url)
    store.settle()
    done = ann.flatpak("update", "--noninteractive", PAID, check=False)
    assert done.returncode != 0 and PAID in done.stdout, done.stdout
    ann.flatpak("update", "--noninteractive", SIBLING)
    assert "version 1" in ann.run("flatpak", "run", PAID).stdout
    assert "version 2" in ann.run("flatpak", "run", SIBLING).stdout


def test_a_right_to_a_branch_opens_that_branch_alone(world):
    store = world.store
    world.repo.export_app(PAID, "paid, beta", token_type=MUST_BE_BOUGHT, branch="beta")
    world.repo.name_authenticator(store.url)
    ann = member(world, "ann")
    store.command("group", "add", "testers", "--title", "Testers")
    store.command("group", "add-member", "testers", ann.email)
    store.command("grant", "--group", "testers", "apps", PAID, "--branch", "beta")
    store.settle()
    code, text = ann.install_at_terminal("shop", app_ref(PAID, "beta"))
    assert code == 0, text + ann.session_log() + store.log()
    assert "paid, beta" in ann.run("flatpak", "run", "--branch=beta", PAID).stdout
    done = ann.flatpak("install", "--noninteractive", "shop", f"{PAID}/{arch()}/stable", check=False)
    assert done.returncode != 0 and "beta" in done.stdout, done.stdout
