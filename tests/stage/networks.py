"""Networks of their own (network namespaces, joined by veth pairs), and programs in them. Needs root and `ip netns`.

The store stays in the namespace of the tests. Each place reaches it under the address that it has there, 127.0.0.1:PORT, by a hop at
both ends of the wire; `cut` takes the wire away."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

from stage.person import Person

HOP = Path(__file__).resolve().parent / "hop.py"
_numbers = itertools.count(1)


def reason_not_to() -> str:
    """Why no networks can be made here; empty if they can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    name = f"fpcheck{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"`ip netns add` does not work here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


def ip(*argv: str, place: "Place | None" = None) -> None:
    subprocess.run([*(place.enter if place else []), "ip", *argv], check=True, capture_output=True)


class Place:
    """A network namespace with a wire to the tests' own, where the store is: 10.90.N.2 here, 10.90.N.1 there."""

    def __init__(self, store_port: int):
        self.number = next(_numbers)
        self.name = f"fp{os.getpid()}x{self.number}"
        self._wire = f"fp{os.getpid() % 100000}w{self.number}"
        self._hops: list[subprocess.Popen] = []
        ip("netns", "add", self.name)
        ip("link", "set", "lo", "up", place=self)
        ip("link", "add", self._wire, "type", "veth", "peer", "name", "store", "netns", self.name)
        ip("addr", "add", f"10.90.{self.number}.1/24", "dev", self._wire)
        ip("link", "set", self._wire, "up")
        ip("addr", "add", f"10.90.{self.number}.2/24", "dev", "store", place=self)
        ip("link", "set", "store", "up", place=self)
        there = f"10.90.{self.number}.1:{store_port}"
        self._hop(there, f"127.0.0.1:{store_port}")
        self._hop(f"127.0.0.1:{store_port}", there, self.enter)

    @property
    def enter(self) -> list[str]:
        """What a command begins with that runs here."""
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def _hop(self, listen: str, to: str, enter: list[str] | None = None) -> None:
        hop = subprocess.Popen([*(enter or []), sys.executable, HOP, listen, to], stdout=subprocess.PIPE)
        assert hop.stdout.readline() == b"listening\n", f"no hop from {listen} to {to}"
        self._hops.append(hop)

    def join(self, other: "Place") -> tuple[str, str]:
        """A wire between two places. Gives the address of this and of the other end."""
        number = next(_numbers)
        ours, theirs = f"10.91.{number}.1", f"10.91.{number}.2"
        ip("link", "add", f"lan{number}", "netns", self.name, "type", "veth", "peer", "name", f"lan{number}", "netns", other.name)
        for place, address in ((self, ours), (other, theirs)):
            ip("addr", "add", f"{address}/24", "dev", f"lan{number}", place=place)
            ip("link", "set", f"lan{number}", "up", place=place)
        return ours, theirs

    def cut(self) -> None:
        """The store cannot be reached from here any more."""
        ip("link", "set", self._wire, "down")

    def mend(self) -> None:
        ip("link", "set", self._wire, "up")

    def end(self) -> None:
        for hop in self._hops:
            hop.kill()
            hop.wait(timeout=10)
            hop.stdout.close()
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self._wire], check=False, capture_output=True)


class Resident(Person):
    """A person whose machine is in a place: the session bus and all that they run are there."""

    def __init__(self, place: Place, root: Path, name: str, programs: Path):
        self.place = place
        super().__init__(root, name, programs)

    def _start_bus(self) -> subprocess.Popen:
        log = open(self.home / "session.log", "ab")
        bus = subprocess.Popen(
            [*self.place.enter, "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"],
            env=self.env, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )
        self.env["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().decode().strip()
        return bus

    def run(self, *argv: str, **more):
        return super().run(*self.place.enter, *argv, **more)

    def background(self, *argv: str) -> subprocess.Popen:
        return super().background(*self.place.enter, *argv)

    def at_terminal(self, *argv: str):
        return super().at_terminal(*self.place.enter, *argv)
