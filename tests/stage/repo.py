"""Makes a small OSTree repository with Debian's `flatpak build-*` tools."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path

from stage.signing import Key

RUNTIME = "org.test.Platform"
FREE = "org.test.Free"
PAID = "org.test.Paid"
SIBLING = "org.test.Paid.Pro"  # another app whose id begins with the paid app's
WIKI = "com.acme.Wiki"
LEDGER = "com.acme.books.Ledger"
BRANCH = "stable"

MUST_BE_BOUGHT = 2  # the token type that this project's repositories use for paid apps


def arch() -> str:
    return subprocess.run(["flatpak", "--default-arch"], check=True, capture_output=True, text=True).stdout.strip()


def app_ref(app: str, branch: str = BRANCH) -> str:
    return f"app/{app}/{arch()}/{branch}"


def tool_environment(home: Path) -> dict[str, str]:
    """The tools keep caches below HOME; the HOME of whoever runs the tests stays as it is."""
    return {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}


class Repo:
    """A repository in `path`, and the folders that it is built from in `path`.build. With a `key` all that is made is signed."""

    def __init__(self, path: Path, key: Key | None = None):
        self.path = path
        self.signing = key.options if key else []
        self.build = path.with_name(path.name + ".build")
        self.build.mkdir(parents=True, exist_ok=True)
        self.env = tool_environment(self.build)
        if not path.exists():
            self._run("ostree", "init", f"--repo={path}", "--mode=archive-z2")

    def copy_to(self, path: Path) -> "Repo":
        """The same repository at another place, with what it is built from."""
        shutil.copytree(self.path, path, symlinks=True)
        shutil.copytree(self.build, path.with_name(path.name + ".build"), symlinks=True)
        return Repo(path)

    def _run(self, *argv: str) -> str:
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)} failed: {done.stderr}{done.stdout}")
        return done.stdout

    def _folder(self, name: str) -> Path:
        folder = self.build / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "files").mkdir(parents=True)
        return folder

    def export_runtime(self) -> None:
        """A runtime that is just Debian's static busybox, enough to run a shell script in the sandbox."""
        folder = self._folder("runtime")
        (folder / "metadata").write_text(
            f"[Runtime]\nname={RUNTIME}\nruntime={RUNTIME}/{arch()}/{BRANCH}\nsdk={RUNTIME}/{arch()}/{BRANCH}\n"
        )
        binaries = folder / "files" / "bin"
        binaries.mkdir()
        shutil.copy("/bin/busybox", binaries / "busybox")
        for applet in ("sh", "cat", "echo", "ls"):
            (binaries / applet).symlink_to("busybox")
        self._export(folder, BRANCH, "--runtime", "--files=files")

    def _export(self, folder: Path, branch: str, *options: str) -> None:
        self._run("flatpak", "build-export", "--disable-sandbox", *self.signing, *options, str(self.path), str(folder), branch)

    def export_app(
        self,
        app: str,
        says: str,
        token_type: int = 0,
        branch: str = BRANCH,
        locale: bool = False,
        ballast: int = 0,
        described: bool = False,
    ) -> str:
        """An app that prints `says`; `ballast` is a number of lines of text that it carries; a `described` one is in the app list
        (AppStream), where `flatpak search` finds it. Gives its commit."""
        folder = self._folder(f"app-{app}-{branch}")
        metadata = f"[Application]\nname={app}\nruntime={RUNTIME}/{arch()}/{BRANCH}\ncommand=hello\n"
        if locale:
            metadata += f"\n[Extension {app}.Locale]\ndirectory=share/runtime/locale\nautodelete=true\nlocale-subset=true\n"
        (folder / "metadata").write_text(metadata)
        (folder / "export").mkdir()
        binaries = folder / "files" / "bin"
        binaries.mkdir()
        program = binaries / "hello"
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
        if locale:
            (folder / "files" / "share" / "runtime" / "locale").mkdir(parents=True)
        if ballast:
            # Text that packs well: of what does not, libostree leaves some out of a delta, to be fetched as a file object.
            lines = (f"{says}, line {number} of the ballast\n" for number in range(ballast))
            (folder / "files" / "ballast").write_text("".join(lines))
        if described:
            self._describe(folder, app)
        kind = [f"--token-type={token_type}"] if token_type else []
        self._export(folder, branch, *kind)
        if locale:
            self._export_locale(app, says, kind, branch)
        return self.commit(app_ref(app, branch))

    @staticmethod
    def _describe(folder: Path, app: str) -> None:
        """What flatpak-builder would put there: the app's component for the app list, and its icon."""
        name = app.rsplit(".", 1)[1]
        infos = folder / "files" / "share" / "app-info"
        (infos / "xmls").mkdir(parents=True)
        component = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<components version="0.8" origin="flatpak">'
            f'<component type="desktop-application"><id>{app}</id><name>{name}</name>'
            f"<summary>{name} of the stage</summary><icon type=\"cached\" height=\"64\" width=\"64\">{app}.png</icon>"
            f'<bundle type="flatpak">{app_ref(app)}</bundle></component></components>\n'
        )
        (infos / "xmls" / f"{app}.xml.gz").write_bytes(gzip.compress(component.encode(), mtime=0))
        icons = infos / "icons" / "flatpak" / "64x64"
        icons.mkdir(parents=True)
        (icons / f"{app}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + app.encode())

    def _export_locale(self, app: str, says: str, kind: list[str], branch: str) -> None:
        folder = self._folder(f"locale-{app}-{branch}")
        (folder / "metadata").write_text(
            f"[Runtime]\nname={app}.Locale\n\n[ExtensionOf]\nref=app/{app}/{arch()}/{branch}\n"
        )
        for language in ("de", "en", "fr"):
            words = folder / "files" / language / "share" / language
            words.mkdir(parents=True)
            (words / "words").write_text(f"{language}: {says}\n")
        self._export(folder, branch, "--runtime", "--files=files", *kind)

    def update(self, *options: str) -> None:
        """`flatpak build-update-repo`: writes summary and appstream anew."""
        self._run("flatpak", "build-update-repo", *self.signing, *options, str(self.path))

    def name_authenticator(self, url: str) -> None:
        """Tells the clients, in the summary, which authenticator to ask and where the store is."""
        self.update("--authenticator-name=org.flatpass.Authenticator", f"--authenticator-option=url={url}")

    def commit(self, ref: str) -> str:
        return self._run("ostree", "rev-parse", f"--repo={self.path}", ref).strip()

    def ostree(self, command: str, *argv: str) -> str:
        return self._run("ostree", command, f"--repo={self.path}", *argv)


def company_repo(path: Path, key: Key | None = None) -> Repo:
    """A company's own: a runtime, an app for everybody and one for accounting, none of them for sale."""
    repo = Repo(path, key)
    repo.export_runtime()
    repo.export_app(WIKI, "the wiki, version 1", locale=True, described=True)
    repo.export_app(LEDGER, "the ledger, version 1", described=True)
    repo.update()
    return repo


def small_repo(path: Path) -> Repo:
    """A runtime, a free app, a paid app with its `.Locale`, and a paid app whose id begins with the first one's."""
    repo = Repo(path)
    repo.export_runtime()
    repo.export_app(FREE, "free as can be")
    repo.export_app(PAID, "paid, version 1", token_type=MUST_BE_BOUGHT, locale=True)
    repo.export_app(SIBLING, "the dearer one", token_type=MUST_BE_BOUGHT)
    repo.update()
    return repo
