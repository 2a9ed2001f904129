"""One measurement: `wrk` on its own core against a server on another."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from servers import CLIENT_CORE, Server

UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


@dataclass
class Sample:
    """What one run of wrk found."""

    per_second: float
    bytes_per_second: float
    failed: int  # answers other than 2xx and 3xx
    cpu_micros: float  # CPU time of the server for each request
    busy: float  # how much of its core the server used


def wrk(server: Server, url: str, seconds: int, connections: int, headers: dict[str, str], script: Path | None = None) -> Sample:
    argv = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    if script:
        argv += ["-s", str(script)]
    before = server.cpu_seconds()
    text = subprocess.run([*argv, url], check=True, capture_output=True, text=True).stdout
    used = server.cpu_seconds() - before
    requests, lasted = re.search(r"(\d+) requests in ([\d.]+)s", text).groups()
    amount, unit = re.search(r"Transfer/sec:\s+([\d.]+)(\w+)", text).groups()
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if broken := re.search(r"Socket errors: (.*)", text):
        raise RuntimeError(f"{url}: {broken.group(1)}")
    return Sample(
        per_second=float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
        bytes_per_second=float(amount) * UNITS[unit],
        failed=int(failed.group(1)) if failed else 0,
        cpu_micros=used / max(int(requests), 1) * 1e6,
        busy=used / float(lasted),
    )


def post_script(folder: Path, name: str, body: bytes) -> Path:
    """A wrk script that posts `body`."""
    script = folder / f"{name}.lua"
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{body.decode()}]==]\nwrk.headers["Content-Type"] = "application/json"\n')
    return script
