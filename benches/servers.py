"""The servers that are compared: each a process pinned to one core, its CPU time and memory read from /proc."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

SERVER_CORE, CLIENT_CORE = "0", "1"

NGINX = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush {nopush};
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    open_file_cache max=10000 inactive=60s;
    open_file_cache_valid 1s;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location /repo/apps/ {{ alias {root}/; }}
    }}
}}
"""


def running_nanoseconds(schedstat: Path) -> int:
    """What the scheduler counted for a thread; nothing for one that has just ended, such as one that waited for the disk."""
    try:
        return int(schedstat.read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0


class Server:
    """`argv` serves `url`/repo/apps/…; `name` is what the table calls it."""

    def __init__(self, name: str, argv: list[str], port: int, path: str = "repo/apps/"):
        self.name, self.argv, self.port, self.path = name, argv, port, path
        self.url = f"http://127.0.0.1:{port}/{path}"
        self._process: subprocess.Popen | None = None

    def start(self, path: str = "config", status: int = 200, core: str | None = SERVER_CORE) -> float:
        """Starts it on that core, or on all; gives the seconds until the first answer, which has that status."""
        log = open(os.devnull, "wb")
        begin = time.monotonic()
        self._process = subprocess.Popen([*(["taskset", "-c", core] if core else []), *self.argv], stdout=log, stderr=log)
        request = f"GET /{self.path}{path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
        while time.monotonic() - begin < 20:
            try:
                with socket.create_connection(("127.0.0.1", self.port)) as connection:
                    connection.sendall(request)
                    if connection.recv(4096).startswith(f"HTTP/1.1 {status}".encode()):
                        return time.monotonic() - begin
            except ConnectionError:
                pass
            time.sleep(0.0005)
        raise RuntimeError(f"{self.name} does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=20)
            self._process = None

    def _family(self) -> list[Path]:
        """The process and its children: nginx's worker is one."""
        pids = [self._process.pid]
        children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()
        return [Path(f"/proc/{pid}") for pid in [*pids, *children]]

    def cpu_seconds(self) -> float:
        """What the scheduler counted, in nanoseconds and not in ticks."""
        threads = [thread for process in self._family() for thread in process.glob("task/*/schedstat")]
        return sum(map(running_nanoseconds, threads)) / 1e9

    def rss_megabytes(self) -> float:
        return self._status("VmRSS")

    def peak_megabytes(self) -> float:
        """The most that was resident at any moment."""
        return self._status("VmHWM")

    def private_megabytes(self) -> float:
        """What is resident of no file, so that the kernel cannot drop it."""
        return self._status("RssAnon")

    def _status(self, key: str) -> float:
        lines = [line for process in self._family() for line in (process / "status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def nginx(folder: Path, root: Path, port: int, nopush: bool) -> Server:
    folder.mkdir(exist_ok=True)
    config = folder / "nginx.conf"
    # Started by root it would become nobody, who may not see a scratch folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(user=user, folder=folder, root=root, port=port, nopush="on" if nopush else "off"))
    return Server("nginx", ["nginx", "-p", str(folder), "-c", str(config)], port)
