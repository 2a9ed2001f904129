"""Makes a small OSTree repository with Debian's `flatpak build-*` tools."""

import os
import shutil
import subprocess
from pathlib import Path

RUNTIME = "org.test.Platform"
FREE = "org.test.Free"
PAID = "org.test.Paid"
SIBLING = "org.test.Paid.Pro"  # another app whose id begins with the paid app's
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
    """A repository in `path`, and the folders that it is built from in `path`.build."""

    def __init__(self, path: Path):
        self.path = path
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
        self._run("flatpak", "build-export", "--runtime", "--files=files", "--disable-sandbox", str(self.path), str(folder), BRANCH)

    def export_app(
        self, app: str, says: str, token_type: int = 0, branch: str = BRANCH, locale: bool = False, ballast: int = 0
    ) -> str:
        """An app that prints `says`; `ballast` is a number of lines of text that it carries. Gives its commit."""
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
        kind = [f"--token-type={token_type}"] if token_type else []
        self._run("flatpak", "build-export", "--disable-sandbox", *kind, str(self.path), str(folder), branch)
        if locale:
            self._export_locale(app, says, kind, branch)
        return self.commit(app_ref(app, branch))

    def _export_locale(self, app: str, says: str, kind: list[str], branch: str) -> None:
        folder = self._folder(f"locale-{app}-{branch}")
        (folder / "metadata").write_text(
            f"[Runtime]\nname={app}.Locale\n\n[ExtensionOf]\nref=app/{app}/{arch()}/{branch}\n"
        )
        for language in ("de", "en", "fr"):
            words = folder / "files" / language / "share" / language
            words.mkdir(parents=True)
            (words / "words").write_text(f"{language}: {says}\n")
        self._run(
            "flatpak", "build-export", "--runtime", "--files=files", "--disable-sandbox", *kind, str(self.path), str(folder), branch
        )

    def update(self, *options: str) -> None:
        """`flatpak build-update-repo`: writes summary and appstream anew."""
        self._run("flatpak", "build-update-repo", *options, str(self.path))

    def name_authenticator(self, url: str) -> None:
        """Tells the clients, in the summary, which authenticator to ask and where the store is."""
        self.update("--authenticator-name=org.flatpass.Authenticator", f"--authenticator-option=url={url}")

    def commit(self, ref: str) -> str:
        return self._run("ostree", "rev-parse", f"--repo={self.path}", ref).strip()

    def ostree(self, command: str, *argv: str) -> str:
        return self._run("ostree", command, f"--repo={self.path}", *argv)


def small_repo(path: Path) -> Repo:
    """A runtime, a free app, a paid app with its `.Locale`, and a paid app whose id begins with the first one's."""
    repo = Repo(path)
    repo.export_runtime()
    repo.export_app(FREE, "free as can be")
    repo.export_app(PAID, "paid, version 1", token_type=MUST_BE_BOUGHT, locale=True)
    repo.export_app(SIBLING, "the dearer one", token_type=MUST_BE_BOUGHT)
    repo.update()
    return repo
