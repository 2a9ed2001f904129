"""The bridge as a service of the user: a real service manager listens, and starts it when Flatpak comes."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from stage.person import PATIENCE
from stage.repo import PAID
from stage.store import programs
from test_bridge import add_remote, member, status
from test_update_unit import NAMESPACES, can_be_tried

UNITS = Path(__file__).resolve().parents[2] / "crates" / "authenticator" / "data"
# A session without a login manager: the manager believes that systemd runs the machine, and has control groups of its own.
SESSION = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
/lib/systemd/systemd --user --unit=basic.target &
until systemctl --user is-active --quiet basic.target; do sleep 0.1; done
systemctl --user enable --now flatpass-bridge.socket
systemctl --user show --property=ActiveState flatpass-bridge.service
touch "$HOME/listening"
wait
"""


@pytest.mark.skipif(not can_be_tried(), reason="needs root, systemd, and leave to mount a cgroup hierarchy")
def test_the_service_manager_of_the_user_starts_the_bridge_when_flatpak_comes(private_world):
    world = private_world
    ann = member(world, "ann")
    added = add_remote(ann, world.store.repo_url("apps"))
    assert "systemctl --user enable --now flatpass-bridge.socket" in added.stdout
    installed = ann.home / ".local/share/systemd/user"
    installed.mkdir(parents=True)
    for unit in ("flatpass-bridge.socket", "flatpass-bridge.service"):
        shutil.copy(UNITS / unit, installed)
    service = installed / "flatpass-bridge.service"
    service.write_text(service.read_text().replace("/usr/bin/flatpass", f"{programs()}/flatpass"))
    log = ann.home / "manager.log"
    with open(log, "wb") as out:
        session = subprocess.Popen([*NAMESPACES, "bash", "-c", SESSION], env=ann.env, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        for _ in range(PATIENCE * 10):
            if (ann.home / "listening").exists():
                break
            assert session.poll() is None, log.read_text()
            time.sleep(0.1)
        assert "ActiveState=inactive" in log.read_text(), "the bridge runs only when it is needed"
        assert PAID in ann.flatpak("remote-ls", "--columns=application", "shop").stdout, log.read_text()
        assert status(ann)["listener"] == "ours"
    finally:
        session.kill()
        session.wait()
    assert PAID not in ann.flatpak("remote-ls", "shop", check=False).stdout
