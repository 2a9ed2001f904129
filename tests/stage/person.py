"""A person at a machine: a private HOME, a private session bus, the real `flatpak`, and a scripted browser."""

import json
import os
import signal
import subprocess

import tempfile
from pathlib import Path

import pexpect

STAGE = Path(__file__).resolve().parent
PATIENCE = 60  # seconds that a person waits for any one command


class Person:
    """`name` becomes the folder and the e-mail address. What the scripted browser does is set by `browser_will`."""

    def __init__(self, root: Path, name: str, programs: Path, password: str = "correct horse battery"):
        self.name = name
        self.email = f"{name}@example.org"
        self.password = password
        self.home = root / name
        self.home.mkdir(parents=True)
        self.programs = programs
        # Unix socket paths are short, so the run-time folder is not below HOME.
        self._run_folder = tempfile.TemporaryDirectory(prefix="fp-")
        runtime = Path(self._run_folder.name)
        share = self.home / ".local" / "share"
        self.env = {
            "HOME": str(self.home),
            "USER": name,
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "PATH": f"{programs}:/usr/bin:/bin",
            "PYTHONPATH": str(STAGE.parent),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_DATA_HOME": str(share),
            "XDG_STATE_HOME": str(self.home / ".local" / "state"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_DIRS": "/usr/share",
            "FLATPAK_SYSTEM_DIR": str(self.home / "system"),
            "BROWSER": str(STAGE / "scripted-browser"),
            "STAGE_PERSON": str(self.home / "person.json"),
        }
        self.journal = self.home / "browser.journal"
        self.has_account = False
        self.browser_will("buy")
        self._install_authenticator(share)
        self._bus = self._start_bus()
        self._windows: list[pexpect.spawn] = []
        self._background: list[subprocess.Popen] = []

    def _install_authenticator(self, share: Path) -> None:
        services = share / "dbus-1" / "services"
        services.mkdir(parents=True)
        (services / "org.flatpass.Authenticator.service").write_text(
            "[D-BUS Service]\nName=org.flatpass.Authenticator\n"
            f"Exec={self.programs / 'flatpass-authenticator'}\n"
        )

    def _start_bus(self) -> subprocess.Popen:
        log = open(self.home / "session.log", "ab")
        bus = subprocess.Popen(
            ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"],
            env=self.env, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )
        self.env["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().decode().strip()
        return bus

    def browser_will(self, plan: str) -> None:
        """What the browser does with the next page that it is sent to: `buy` (sign up or in, buy, pay, allow),
        `sign-in` (the same, but cancels where it should pay), `decline` (the card is declined), `deny` (says no to
        the device), `close` (the window is closed at once), `fail` (the browser cannot be started), `device CODE` (types
        the code of a device where it is asked for, and lets the device in), `join` (follows an invitation into a group)."""
        self._plan = plan
        self._write_script()

    def _write_script(self) -> None:
        script = {
            "email": self.email,
            "password": self.password,
            "has_account": self.has_account,
            "plan": self._plan,
            "profile": str(self.home / "browser-profile"),
            "journal": str(self.journal),
        }
        Path(self.env["STAGE_PERSON"]).write_text(json.dumps(script))

    def visit(self, url: str) -> None:
        """Opens the address in the scripted browser, which then does what it will."""
        self.run(self.env["BROWSER"], url)

    def pages_seen(self) -> list[str]:
        """What the scripted browser noted so far, a line for each thing that it did; forgets them."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text().splitlines()
        self.journal.unlink()
        return lines

    def run(self, *argv: str, check: bool = True, timeout: float = PATIENCE, stdin: str | None = None):
        """Runs a command without a terminal. Standard output and errors come back as one text."""
        done = subprocess.run(
            argv, env=self.env, text=True, input=stdin, timeout=timeout, cwd=self.home,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}\n{self.session_log()}")
        return done

    def background(self, *argv: str) -> subprocess.Popen:
        """Starts a program that runs until it is told to end, or until the person leaves. It writes to the session's log."""
        with open(self.home / "session.log", "ab") as log:
            started = subprocess.Popen(argv, env=self.env, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._background.append(started)
        return started

    def flatpak(self, *argv: str, check: bool = True, timeout: float = PATIENCE):
        """Runs `flatpak --user …` without a terminal, answering yes."""
        return self.run("flatpak", "--user", *argv, check=check, timeout=timeout)

    def at_terminal(self, *argv: str) -> pexpect.spawn:
        """Starts a command on a terminal of its own, 200 columns wide."""
        window = pexpect.spawn(argv[0], list(argv[1:]), env=self.env, cwd=str(self.home), encoding="utf-8",
                               timeout=PATIENCE, dimensions=(50, 200))
        self._windows.append(window)
        return window

    def install_at_terminal(self, remote: str, app: str, verb: str = "install") -> tuple[int, str]:
        """`flatpak install` as a person types it, with a yes to every question. Gives the exit code and the text."""
        target = [remote, app] if verb == "install" else [app]
        return answer_yes(self.at_terminal("flatpak", "--user", verb, *target))

    def session_log(self) -> str:
        """What the session's services (the authenticator among them) wrote."""
        log = self.home / "session.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def authenticator_pid(self) -> int | None:
        asked = self.run("dbus-send", "--session", "--print-reply=literal", "--dest=org.freedesktop.DBus",
                         "/org/freedesktop/DBus", "org.freedesktop.DBus.GetConnectionUnixProcessID",
                         "string:org.flatpass.Authenticator", check=False)
        return int(asked.stdout.split()[-1]) if asked.returncode == 0 else None

    def end_authenticator(self) -> None:
        """As a logout would: the next call starts a new one, which finds what was stored and nothing else."""
        pid = self.authenticator_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            if self.authenticator_pid() is None:
                return
            subprocess.run(["sleep", "0.05"], check=True)
        raise AssertionError("the authenticator did not end on SIGTERM")

    def leave(self) -> None:
        """Ends everything that the person started."""
        for window in self._windows:
            window.close(force=True)
        for program in self._background:
            program.terminate()
            program.wait(timeout=15)
        pid = self.authenticator_pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        self._bus.terminate()
        self._bus.wait(timeout=10)
        self._bus.stdout.close()
        self._run_folder.cleanup()


def answer_yes(window: pexpect.spawn) -> tuple[int, str]:
    """Answers every question of a flatpak command with yes, until it ends."""
    text = ""
    while True:
        found = window.expect([r"\[Y/n\]: ?", r"\[y/n\]: ?", pexpect.EOF, pexpect.TIMEOUT])
        text += window.before or ""
        if found in (0, 1):
            text += window.after
            window.sendline("y")
        elif found == 2:
            window.close()
            return (window.exitstatus if window.exitstatus is not None else 128 + window.signalstatus), text
        else:
            raise AssertionError(f"no answer within {PATIENCE} seconds; so far:\n{text}")


