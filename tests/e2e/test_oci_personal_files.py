"""`.flatpakref` and `.flatpakrepo` files of repos whose apps are in a container registry, with stock flatpak."""

import urllib.parse

import pytest

from stage.images import Images
from stage.oci_shop import OciShop
from stage.pages import Pages
from stage.person import Person, answer_yes
from stage.repo import FREE, PAID
from stage.store import programs


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def shop(tmp_path, images, request):
    shop = OciShop(tmp_path, images, policy=request.param)
    people = []

    def person(name: str, *apps: str) -> tuple[Person, Pages]:
        person = Person(tmp_path / "people", name, programs())
        people.append(person)
        shop.store.command("account", "add", person.email, stdin=person.password + "\n")
        for app in apps:
            shop.store.command("grant", person.email, "images", app)
        shop.store.settle()
        person.has_account = True
        return person, Pages(shop.store, person.email, person.password)

    shop.person = person
    try:
        yield shop.start()
    finally:
        for one in people:
            one.leave()
        shop.end()


def ref_file(person: Person, pages: Pages, app: str) -> str:
    """Downloads the file from the account page. Gives its path."""
    action = f"/account/repos/images/flatpakref?app={urllib.parse.quote(app).replace('.', '%2E')}&branch=stable"
    path = person.home / f"{app}.flatpakref"
    path.write_text(pages.submit("/account/repos/images", action))
    return str(path)


@pytest.mark.parametrize("shop", ["refs"], indirect=True)
def test_one_file_installs_an_app_from_the_registry_and_one_more_buys_another(shop):
    ann, pages = shop.person("ann", "org.example.Nothing")
    file = ref_file(ann, pages, FREE)
    assert f"Url=oci+{shop.store.repo_url('images')}\n" in open(file).read()
    ann.flatpak("install", "-y", file)
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    code, text = answer_yes(ann.at_terminal("flatpak", "--user", "install", ref_file(ann, pages, PAID)))
    assert code == 0, text + ann.session_log()
    assert "paid, version 1" in ann.run("flatpak", "run", PAID).stdout
    remotes = ann.flatpak("remotes", "--columns=name,url").stdout.splitlines()
    assert len(remotes) == 1 and "oci+http" in remotes[0], remotes


@pytest.mark.parametrize("shop", ["private"], indirect=True)
def test_one_file_installs_an_app_of_a_private_registry_by_a_secret_of_its_own(shop):
    ann, pages = shop.person("ann", FREE, PAID, "org.test.Platform")
    file = ref_file(ann, pages, FREE)
    # The file shows what there is; to download it, the person signs in once.
    refused = ann.flatpak("install", "-y", "--noninteractive", file, check=False)
    assert refused.returncode != 0 and "sign in" in refused.stdout.lower(), refused.stdout
    ann.browser_will("sign-in")
    code, text = answer_yes(ann.at_terminal("flatpak", "--user", "install", file))
    assert code == 0, text + ann.session_log()
    assert "free as can be" in ann.run("flatpak", "run", FREE).stdout
    remotes = ann.flatpak("remotes", "--columns=name,url").stdout.splitlines()
    assert len(remotes) == 1 and f"oci+{shop.store.url}i/fpt_" in remotes[0], remotes
