"""A private repo whose index is each person's own, with the real flatpak: what is listed, searched, installed and updated."""

import threading

import pytest
from stage import repo as repos
from stage.person import Person
from stage.repo import LEDGER, RUNTIME, WIKI, app_ref
from stage.signing import Key
from stage.store import Store, programs


class Company:
    """A store with the repo `internal`, private, and an index per person: signed with `key`, or not at all."""

    def __init__(self, folder, key: Key | None):
        self.folder = folder
        self.key = key
        self.repo = repos.company_repo(folder / "repo", key)
        self.store = Store(folder / "store", programs())
        self.repo.name_authenticator(self.store.url)
        how = ["--signing-key", str(key.secret), "--gpg-key", str(key.public)] if key else ["--per-person-index"]
        self.store.command("repo", "add", "internal", str(self.repo.path), "--policy", "private", *how)
        self.store.start()
        self._people: list[Person] = []

    def person(self, name: str, *apps: str) -> Person:
        """Somebody who may have these apps, with the secret of their device in the URL of the remote."""
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        self.store.command("account", "add", person.email, stdin=person.password + "\n")
        for app in apps:
            self.store.command("grant", person.email, "internal", app)
        secret = self.store.json("access-token", "add", person.email, "internal", "--name", "laptop")["secret"]
        self.store.settle()
        url = self.store.repo_url("internal").replace("http://", f"http://device:{secret}@")
        trust = [f"--gpg-import={self.key.public}"] if self.key else ["--no-gpg-verify"]
        person.flatpak("remote-add", *trust, "work", url)
        return person

    def end(self) -> None:
        for person in self._people:
            person.leave()
        self.store.kill()


@pytest.fixture(params=["signed", "unsigned"])
def company(request, tmp_path):
    key = Key(tmp_path / "key") if request.param == "signed" else None
    company = Company(tmp_path, key)
    yield company
    company.end()
    if key:
        key.end()


def listed(person: Person) -> set[str]:
    return set(person.flatpak("remote-ls", "--all", "--columns=application", "work").stdout.split())


def test_each_sees_searches_installs_and_updates_their_own(company):
    ann = company.person("ann", WIKI, RUNTIME)
    bob = company.person("bob", LEDGER, RUNTIME)
    assert {WIKI, RUNTIME} <= listed(ann) and LEDGER not in listed(ann)
    assert {LEDGER, RUNTIME} <= listed(bob) and WIKI not in listed(bob)

    # The list of apps, its icons, and the search in it.
    for person, own, other in [(ann, WIKI, LEDGER), (bob, LEDGER, WIKI)]:
        person.flatpak("update", "--appstream", "work")
        found = person.flatpak("search", "stage", check=False).stdout
        assert own in found and other not in found, found
        below = person.home / ".local/share/flatpak/appstream/work"
        texts = "".join(path.read_text() for path in below.rglob("appstream.xml"))
        assert own in texts and other not in texts
        assert [path.stem for path in below.rglob("*.png")] == [own]

    # flatpak 1.14 aborts after it has shown an app without an SDK, whatever the repository.
    shown = ann.flatpak("remote-info", "work", WIKI, check=False).stdout
    assert company.repo.commit(app_ref(WIKI)) in shown, shown
    refused = ann.flatpak("remote-info", "work", LEDGER, check=False)
    assert refused.returncode != 0 and company.repo.commit(app_ref(LEDGER)) not in refused.stdout
    ann.flatpak("install", "-y", "work", WIKI)
    assert "the wiki, version 1" in ann.run("flatpak", "run", WIKI).stdout
    assert ann.flatpak("install", "-y", "work", LEDGER, check=False).returncode != 0

    company.repo.export_app(WIKI, "the wiki, version 2", locale=True, described=True)
    company.repo.update()
    ann.flatpak("update", "-y")
    assert "the wiki, version 2" in ann.run("flatpak", "run", WIKI).stdout

    # What was granted shows at once, what was revoked goes at once.
    company.store.command("grant", ann.email, "internal", LEDGER)
    company.store.settle()
    assert LEDGER in listed(ann)
    company.store.command("revoke", ann.email, "internal", LEDGER)
    company.store.settle()
    assert LEDGER not in listed(ann)


def test_who_may_list_everything_gets_the_operators_own_files(company):
    ann = company.person("ann", "*")
    assert {WIKI, LEDGER, RUNTIME} <= listed(ann)
    ann.flatpak("update", "--appstream", "work")
    assert LEDGER in ann.flatpak("search", "stage").stdout
    ann.flatpak("install", "-y", "work", LEDGER)


def test_clients_list_and_install_while_the_repo_is_updated(company):
    ann = company.person("ann", WIKI, RUNTIME)
    ann.flatpak("install", "-y", "work", WIKI)
    done = threading.Event()

    def publish() -> None:
        for version in range(2, 8):
            company.repo.export_app(WIKI, f"the wiki, version {version}", described=True)
            company.repo.update()
        done.set()

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        while not done.is_set():
            assert {WIKI, RUNTIME} <= listed(ann)
            ann.flatpak("update", "--appstream", "work")
            ann.flatpak("update", "-y", WIKI)
    finally:
        publisher.join()
    ann.flatpak("update", "-y", WIKI)
    assert "version 7" in ann.run("flatpak", "run", WIKI).stdout


def test_an_index_signed_with_another_key_is_refused_by_clients_and_told_by_repo_check(tmp_path):
    key, other = Key(tmp_path / "key"), Key(tmp_path / "other", "Somebody else")
    company = Company(tmp_path, key)
    try:
        assert "signing-key" not in company.store.command("repo", "check", "internal", check=False).stdout
        ann = company.person("ann", WIKI, RUNTIME)
        assert WIKI in listed(ann)
        company.store.command("repo", "set", "internal", "--signing-key", str(other.secret))
        company.store.settle()
        # What the index says did not change, so the client would go on with the signature that it has.
        ann.run("rm", "-rf", str(ann.home / ".local/share/flatpak/repo/tmp/cache"))
        refused = ann.flatpak("remote-ls", "work", check=False)
        assert refused.returncode != 0 and "public key not found" in refused.stdout, refused.stdout
        check = company.store.command("repo", "check", "internal", check=False)
        assert check.returncode == 3 and other.id in check.stdout, check.stdout
        company.store.command("repo", "set", "internal", "--one-index")
        company.store.settle()
        assert {WIKI, LEDGER} <= listed(ann)
        assert "every member sees all" in company.store.command("repo", "check", "internal", check=False).stdout
    finally:
        company.end()
        key.end()
        other.end()
