"""How the demos tell a story: each step is shown and checked, and what does not happen as told ends it with an error."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stage.person import Person
from stage.store import Store, programs


def tell(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def show(text: str) -> None:
    for line in text.strip().splitlines():
        if line.strip():
            print(f"    {line.rstrip()}", flush=True)


def must(true: bool, otherwise: str) -> None:
    if not true:
        raise SystemExit(f"The story went wrong: {otherwise}")


class Scene:
    """A scratch folder with a store that is not started yet, and the people who come on."""

    def __init__(self, name: str):
        self.folder = Path(tempfile.mkdtemp(prefix="flatpass-demo-"))
        self.store = Store(self.folder / "store", programs(), name=name)
        self._people: list[Person] = []
        self._beside: list = []

    def beside(self, *servers) -> None:
        """Servers beside the store, which are stopped at the end."""
        self._beside.extend(servers)

    def person(self, name: str) -> Person:
        person = Person(self.folder / "people", name, programs())
        self._people.append(person)
        return person

    def end(self) -> None:
        for person in self._people:
            person.leave()
        for server in self._beside:
            server.stop()
        self.store.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def play(name: str, story: Callable[[Scene], None], afterwards: Callable[[Scene], None] | None = None) -> None:
    """Plays a story, then what comes `afterwards`, and leaves nothing behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    began = time.monotonic()
    scene = Scene(name)
    try:
        story(scene)
        tell(f"That was the story, in {time.monotonic() - began:.0f} seconds.")
        if afterwards:
            afterwards(scene)
    finally:
        scene.end()
