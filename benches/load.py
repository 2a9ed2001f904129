"""One measurement: `wrk` on its own core against a server on another."""

import os
import re
import resource
import subprocess
import time
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
    others: float  # cores that everything else on the machine kept busy


# A run counts when everything else on the machine together used no more than this part of one core meanwhile.
QUIET = 0.15
ATTEMPTS = 12


def wrk(server: Server, url: str, seconds: int, connections: int, headers: dict[str, str], script: Path | None = None) -> Sample:
    """The first run that nothing disturbed, or the least disturbed one of many."""
    runs = []
    for _ in range(ATTEMPTS):
        runs.append(once(server, url, seconds, connections, headers, script))
        if runs[-1].others <= QUIET:
            break
        time.sleep(1)
    return min(runs, key=lambda run: run.others)


def crowd(url: str, seconds: int, connections: int, headers: dict[str, str]) -> None:
    """Many readers on all cores, who wait as long as it takes. What they get is not counted."""
    fields = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    argv = ["wrk", f"-t{os.cpu_count() or 1}", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", *fields, url]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    if broken := re.search(r"Non-2xx or 3xx responses: .*|Socket errors: .*", text):
        raise RuntimeError(f"{url}: {broken.group(0)}")


def once(server: Server, url: str, seconds: int, connections: int, headers: dict[str, str], script: Path | None) -> Sample:
    argv = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    if script:
        argv += ["-s", str(script)]
    server_before, machine_before, ours_before = server.cpu_seconds(), machine_seconds(), children_seconds()
    text = subprocess.run([*argv, url], check=True, capture_output=True, text=True).stdout
    used = server.cpu_seconds() - server_before
    others = machine_seconds() - machine_before - used - (children_seconds() - ours_before)
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
        others=max(others, 0) / float(lasted),
    )


def machine_seconds() -> float:
    """CPU time of everything: user, nice, system, interrupts, stolen."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def post_script(folder: Path, name: str, body: bytes) -> Path:
    """A wrk script that posts `body`."""
    script = folder / f"{name}.lua"
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{body.decode()}]==]\nwrk.headers["Content-Type"] = "application/json"\n')
    return script
