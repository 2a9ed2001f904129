"""Repos whose tokens are no JWTs of the store: reference tokens with the real flatpak, and a company's identity provider."""

import subprocess

import pytest

from stage.identity_provider import IdentityProvider
from stage.repo import BRANCH, FREE, MUST_BE_BOUGHT, PAID, SIBLING, app_ref, arch
from test_bridge import Bridge, add_remote, bridges, member  # noqa: F401

ENGINEERS = ["bowling", "engineering"]


def bearers(world) -> list[str]:
    """The tokens that the mirror has seen, the newest last."""
    lines = [line for head in world.mirror.heads for line in head.splitlines()]
    return [line.split()[-1] for line in lines if line.lower().startswith("authorization: bearer ")]


def commit_status(world, commit: str, token: str) -> int:
    path = f"repo/apps/objects/{commit[:2]}/{commit[2:]}.commit"
    return world.store.get(path, {"Authorization": f"Bearer {token}"})[0]


def test_reference_tokens_install_and_update_and_end_at_once_when_the_right_is_taken_away(mirrored_world):
    world = mirrored_world
    world.store.command("repo", "set", "apps", "--tokens", "opaque")
    world.store.settle()
    ann = world.person("ann", remote=None)
    ann.flatpak("remote-add", "--no-gpg-verify", "shop", world.mirror.url + "repo/apps")
    code, text = ann.install_at_terminal("shop", PAID)
    assert code == 0, text + ann.session_log() + world.store.log()
    ann.has_account = True
    ann.browser_will("fail")
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    assert bearers(world) and all(token.startswith("fpx_") for token in bearers(world))

    second = world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    ann.flatpak("update", "--noninteractive")
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    token = bearers(world)[-1]
    assert commit_status(world, second, token) == 200
    inspected = world.store.command("token", "inspect", "-", stdin=token)
    assert ann.email in inspected.stdout and PAID in inspected.stdout

    world.store.command("revoke", ann.email, "apps", PAID)
    world.store.settle()
    assert commit_status(world, second, token) == 403
    third = world.repo.export_app(PAID, "paid, version 3", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    assert commit_status(world, third, token) == 403
    refused = ann.flatpak("update", "--noninteractive", check=False)
    assert refused.returncode != 0
    assert "paid, version 2" in ann.run("flatpak", "run", PAID).stdout
    # Nothing of a token is on the disk.
    files = [path for path in world.store.folder.rglob("*") if path.is_file()]
    assert not any(token.encode() in path.read_bytes() for path in files)


def test_a_private_list_over_the_bridge_is_opened_by_reference_tokens_until_they_are_taken_away(private_world, bridges):  # noqa: F811
    world = private_world
    world.store.command("repo", "set", "apps", "--tokens", "opaque")
    ann = member(world, "ann")
    add_remote(ann, world.store.repo_url("apps"))
    bridges.append(Bridge(ann))
    assert PAID in ann.flatpak("remote-ls", "--columns=application", "shop").stdout
    ann.flatpak("install", "-y", "shop", FREE)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    world.store.command("revoke", ann.email, "apps", "*")
    world.store.settle()
    world.repo.export_app(FREE, "free, version 2")
    world.repo.name_authenticator(world.store.url)
    refused = ann.flatpak("remote-ls", "shop", check=False)
    assert refused.returncode != 0 or PAID not in refused.stdout


@pytest.fixture
def company(world, tmp_path):
    """The store takes the tokens of an identity provider, whose engineers may have the paid app."""
    provider = IdentityProvider(tmp_path / "idp").start()
    store = world.store
    store.command("issuer", "add", "acme", "--issuer", provider.url)
    checked = store.command("issuer", "check", "acme")
    assert "key first" in checked.stdout, checked.stdout
    store.command("issuer", "map", "acme", "--claim", "groups", "--value", "engineering", "--ids", PAID)
    store.command("repo", "set", "apps", "--tokens", "issuer:acme")
    store.settle()
    world.provider = provider
    yield world
    provider.stop()


def pull(world, folder, app: str, token: str) -> subprocess.CompletedProcess:
    """What `ostree` gets of an app with that token."""
    repo = f"--repo={folder}"
    subprocess.run(["ostree", "init", repo, "--mode=bare-user-only"], check=True, capture_output=True)
    subprocess.run(["ostree", "remote", "add", repo, "--force", "--no-gpg-verify", "shop", world.store.repo_url("apps")],
                   check=True, capture_output=True)
    return subprocess.run(["ostree", "pull", repo, f"--http-header=Authorization=Bearer {token}", "shop", app_ref(app)],
                          capture_output=True, text=True)


def test_the_groups_of_a_company_open_apps_through_key_rotations_and_outages(company, tmp_path):
    world, provider, store = company, company.provider, company.store
    audience = store.repo_url("apps")
    token = provider.token(audience, ENGINEERS)
    done = pull(world, tmp_path / "engineer", PAID, token)
    assert done.returncode == 0, done.stderr + store.log()
    assert pull(world, tmp_path / "engineer", SIBLING, token).returncode != 0
    commit = world.repo.commit(app_ref(PAID))
    for name, refused in {
        "another group": (403, provider.token(audience, ["bowling"])),
        "another audience": (401, provider.token(audience + "2", ENGINEERS)),
        "an ID token": (401, provider.token(audience, ENGINEERS, nonce="n")),
        "an old one": (401, provider.token(audience, ENGINEERS, exp=1)),
    }.items():
        assert commit_status(world, commit, refused[1]) == refused[0], name

    # Flatpak's authenticator gets no such token, and says what to do.
    ann = world.person("ann")
    ann.flatpak("install", "-y", "shop", FREE)
    told = ann.flatpak("install", "-y", "--noninteractive", "shop", PAID, check=False)
    assert told.returncode != 0 and provider.url in " ".join(told.stdout.split()), told.stdout + ann.session_log()

    # Rotation: the next key is there before it signs.
    following = provider.publish("second")
    store.restart()
    assert commit_status(world, commit, provider.token(audience, ENGINEERS, key=following)) == 200
    assert commit_status(world, commit, token) == 200
    provider.keys.pop(0)
    store.restart()
    assert commit_status(world, commit, token) == 401
    assert commit_status(world, commit, provider.token(audience, ENGINEERS)) == 200

    # Away: what is known holds, and a server that knows nothing yet opens nothing.
    provider.stop()
    assert commit_status(world, commit, provider.token(audience, ENGINEERS)) == 200
    store.restart()
    assert commit_status(world, commit, provider.token(audience, ENGINEERS)) == 503
    assert store.log().count("tokens cannot be looked up") == 1, store.log()
    commit = world.repo.commit(f"app/{FREE}/{arch()}/{BRANCH}")
    assert store.get(f"repo/apps/objects/{commit[:2]}/{commit[2:]}.commit")[0] == 200
