"""The repo and the store that are measured: made with the real tools, with one account that bought the paid app."""

import base64
import hashlib
import http.cookiejar
import json
import os
import secrets
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

from stage.repo import BRANCH, FREE, MUST_BE_BOUGHT, PAID, Repo, app_ref, arch
from stage.store import Store

EMAIL, PASSWORD = "bench@example.org", "correct horse battery"
LARGE = "org.test.Large"
RETURN = "http://127.0.0.1:9/done"


class Bench:
    """Paths of what is asked for, below the repo's URL."""

    def __init__(self, folder: Path, programs: Path):
        self.repo = Repo(folder / "repo")
        export(self.repo, FREE, 300_000)
        export(self.repo, PAID, 560, f"--token-type={MUST_BE_BOUGHT}")
        export(self.repo, LARGE, 20_000_000)
        self.repo.update()
        self.small, self.middle, self.large = (self._object(size) for size in (600, 300_000, 20_000_000))
        commit = self.repo.commit(app_ref(PAID))
        self.commit = f"objects/{commit[:2]}/{commit[2:]}.commit"
        self.store = Store(folder / "store", programs)
        self.store.command("repo", "add", "apps", str(self.repo.path), "--policy", "refs")
        self.store.command("account", "add", EMAIL, stdin=PASSWORD + "\n")
        self.store.command("grant", EMAIL, "apps", PAID)

    def _object(self, size: int) -> str:
        objects = self.repo.path.glob("objects/*/*.filez")
        nearest = min(objects, key=lambda path: abs(path.stat().st_size - size))
        if abs(nearest.stat().st_size - size) > size / 10:
            raise RuntimeError(f"the repo has no object of about {size} bytes")
        return str(nearest.relative_to(self.repo.path))

    def answers(self, repo: str, path: str) -> bool:
        """Whether the server gives the object, or at least asks for a token, so that it knows what it is."""
        try:
            urllib.request.urlopen(f"{self.store.repo_url(repo)}/{path}").close()
        except urllib.error.HTTPError as refusal:
            return refusal.code == 401
        return True

    def bytes(self, path: str) -> int:
        return (self.repo.path / path).stat().st_size

    def access_token(self) -> str:
        """Signs in on the web pages, allows a device, and exchanges its code, as the authenticator does."""
        return sign_in(self.store.url)

    def ref_token_request(self, refs: int) -> bytes:
        """The body of a request for that many refs' tokens, one of them paid."""
        names = [app_ref(PAID)] + [app_ref(FREE), app_ref(LARGE)] * refs
        wanted = [{"ref": name} for name in names[:refs]]
        return json.dumps({"repo_url": self.store.repo_url("apps"), "refs": wanted}).encode()

    def ref_token(self, access: str) -> str:
        answer = post(f"{self.store.url}api/v1/ref-tokens", self.ref_token_request(1), access)
        return answer["tokens"][0]["token"]


def export(repo: Repo, app: str, size: int, *options: str) -> None:
    """An app with one file of so many random bytes, which no compression makes smaller."""
    folder = repo.path.with_name(app)
    (folder / "files").mkdir(parents=True)
    (folder / "export").mkdir()
    (folder / "files" / "noise").write_bytes(os.urandom(size))
    (folder / "metadata").write_text(f"[Application]\nname={app}\nruntime=org.test.Platform/{arch()}/{BRANCH}\n")
    argv = ["flatpak", "build-export", "--disable-sandbox", *options, str(repo.path), str(folder), BRANCH]
    subprocess.run(argv, check=True, capture_output=True, env=repo.env)


def post(url: str, body: bytes, access: str) -> dict:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {access}"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return json.load(answer)


class Form(HTMLParser):
    """The fields of the form on a page that has the field or button called `with_field`."""

    def __init__(self, page: str, with_field: str):
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.feed(page)
        self.action, self.fields = next(form for form in self.forms if with_field in form[1])

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.forms.append((found.get("action", ""), {}))
        elif tag in ("input", "button") and self.forms and "name" in found:
            self.forms[-1][1].setdefault(found["name"], found.get("value", ""))


class StopAtReturn(urllib.request.HTTPRedirectHandler):
    """Follows redirects but the one back to the program that asked."""

    def redirect_request(self, request, file, code, message, headers, to):
        if to.startswith(RETURN):
            raise Returned(to)
        return super().redirect_request(request, file, code, message, headers, to)


class Returned(Exception):
    pass


def sign_in(store: str) -> str:
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), StopAtReturn)

    def submit(page: str, with_field: str, **values: str) -> str:
        form = Form(page, with_field)
        body = urllib.parse.urlencode(form.fields | values).encode()
        headers = {"Origin": store.rstrip("/")}
        return browser.open(urllib.request.Request(urllib.parse.urljoin(store, form.action), body, headers)).read().decode()

    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = urllib.parse.urlencode({
        "response_type": "code", "client_id": "flatpass-authenticator", "redirect_uri": RETURN, "state": "bench",
        "code_challenge": challenge, "code_challenge_method": "S256", "device_name": "bench",
    })
    page = browser.open(f"{store}oauth/authorize?{query}").read().decode()
    page = submit(page, "password", email=EMAIL, password=PASSWORD)
    try:
        submit(page, "decision", decision="allow")
    except Returned as returned:
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(str(returned)).query)["code"][0]
    body = urllib.parse.urlencode({
        "grant_type": "authorization_code", "code": code, "redirect_uri": RETURN, "client_id": "flatpass-authenticator",
        "code_verifier": verifier,
    }).encode()
    with urllib.request.urlopen(f"{store}oauth/token", body) as answer:
        return json.load(answer)["access_token"]
