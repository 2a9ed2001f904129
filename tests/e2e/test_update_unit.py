"""The unit for unattended updates, started by its timer in a real systemd, with its credential and its sandbox.

systemd runs as the first process of namespaces of its own, with nothing but this unit (and without cgroup control, journal and
udev), and ends when the unit has ended. What the machine has in /etc, /opt, /usr/local and /var is covered by copies.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stage.repo import MUST_BE_BOUGHT, PAID
from stage.store import programs

UNITS = Path(__file__).resolve().parents[2] / "crates" / "authenticator" / "data"
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$STAGE/run"
mkdir -p "$STAGE"/run/units "$STAGE"/run/var/lib
cp -r "$STAGE"/units/. "$STAGE"/run/units/
for folder in etc opt; do
  mkdir -p "$STAGE"/run/$folder "$STAGE"/run/$folder.work
  mount -t overlay -o "lowerdir=/$folder,upperdir=$STAGE/run/$folder,workdir=$STAGE/run/$folder.work" overlay /$folder
done
install -D -m 0600 "$STAGE"/robot.toml /etc/flatpass/robot.toml
install -m 0755 "$PROGRAMS"/flatpass-authenticator /opt/flatpass-authenticator
mount --bind "$STAGE"/run/var/lib /var/lib
mkdir /var/lib/flatpak
mount --bind "$INSTALLATION" /var/lib/flatpak
mount -t tmpfs tmpfs /run
mkdir /run/systemd
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount --make-rshared /  # systemd expects that: credentials come by a mount
exec env container=other SYSTEMD_UNIT_PATH="$STAGE"/run/units SYSTEMD_LOG_TARGET=console \\
  /lib/systemd/systemd --system --unit=flatpass-update.timer --show-status=0
"""
NAMESPACES = ["unshare", "--fork", "--kill-child", "--mount", "--pid", "--mount-proc", "--ipc", "--uts", "--cgroup"]


def can_be_tried() -> bool:
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
        return False
    script = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/c && mount -t cgroup -o none,name=systemd cgroup /mnt/c"
    return subprocess.run([*NAMESPACES, "sh", "-c", script], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_be_tried(), reason="needs root, systemd, and leave to mount a cgroup hierarchy")
def test_the_timer_updates_the_machine_as_its_robot_inside_the_units_sandbox(private_world):
    world = private_world
    machine = world.person("kiosk", remote=None)
    world.store.command("robot", "add", "kiosk")
    world.store.command("grant", "robot/kiosk", "apps", "*")
    robot = machine.home / "robot.toml"
    world.store.command("robot", "secret", "kiosk", "--out", str(robot))
    world.store.settle()
    where = world.store.repo_url("apps").removeprefix("http://").replace("/repo/", "/")
    machine.run("flatpass-authenticator", "remote-add", "--system", "--no-gpg-verify", "--robot", str(robot), where, "shop")
    run = ["flatpass-authenticator", "run", "--robot", str(robot), "--"]
    machine.run(*run, "flatpak", "install", "--system", "-y", "--noninteractive", "shop", PAID)
    world.repo.export_app(PAID, "paid, version 2", token_type=MUST_BE_BOUGHT, locale=True)
    world.repo.name_authenticator(world.store.url)
    world.store.settle()

    stage = machine.home / "systemd"
    units = stage / "units"
    units.mkdir(parents=True)
    (stage / "run").mkdir()
    shutil.copy(robot, stage / "robot.toml")
    text = (UNITS / "flatpass-update.service").read_text().replace("/usr/bin/flatpass", "/opt/flatpass")
    (units / "flatpass-update.service").write_text(text)
    log = stage / "log"
    drop_in = units / "flatpass-update.service.d"
    drop_in.mkdir()
    (drop_in / "stage.conf").write_text(
        f"[Unit]\nSuccessAction=exit-force\nFailureAction=exit-force\n"
        f"[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\n"
        # The robot comes as systemd's credential or not at all.
        "InaccessiblePaths=/etc/flatpass\n"
        # What of the sandbox is really there, as the service sees it.
        f"ExecStartPre=/bin/sh -c 'touch /usr/x /etc/x /home/x /var/lib/x; ls /root /home; ls -lL $$CREDENTIALS_DIRECTORY; "
        f"ls -ld $$XDG_RUNTIME_DIR $$HOME; grep NoNewPrivs /proc/self/status; exit 0'\n"
    )
    # The timer as it is, but for when: it is not midnight.
    shutil.copy(UNITS / "flatpass-update.timer", units)
    drop_in = units / "flatpass-update.timer.d"
    drop_in.mkdir()
    (drop_in / "stage.conf").write_text("[Timer]\nOnCalendar=\nOnCalendar=*:*:*\nRandomizedDelaySec=0\n")
    for name in ("timers", "sysinit", "basic", "shutdown", "network-online"):
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    environment = {
        **os.environ, "STAGE": str(stage), "PROGRAMS": str(programs()), "INSTALLATION": machine.env["FLATPAK_SYSTEM_DIR"],
    }
    booted = subprocess.run([*NAMESPACES, "bash", "-c", BOOT], env=environment, capture_output=True, text=True, timeout=120)
    said = log.read_text() if log.exists() else ""
    assert booted.returncode == 0, booted.stdout + booted.stderr + said
    assert "paid, version 2" in machine.run("flatpak", "run", PAID).stdout, said
    assert said.count("Read-only file system") >= 3, said
    assert "flatpass-robot" in said and "NoNewPrivs:\t1" in said, said
    assert re.search(r"drwx------ .*flatpass-update", said), said
    kept = re.search(r'client_secret = "([^"]+)"', robot.read_text())[1]
    assert kept not in said + booted.stdout + booted.stderr
