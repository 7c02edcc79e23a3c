"""What the dashboard costs: bytes and time of what it asks for, and what open ones take of others.

A run with 10,000 steps behind it, its real web process, and 64 simulated workers (those of
`control_requests.py`) that beat, lease, upload and release. A step is committed every two seconds.
An open dashboard holds the stream of events and every five seconds asks for newer points of eight
series, the list of rollouts and the evaluations. Everybody shares this machine's cores.

    python benchmarks/dashboard.py [STEPS] [WORKERS] [SECONDS]
"""

import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import requests
from contestants.long_run import LongRun
from contestants.open_dashboards import NAMES, look_on
from contestants.page_load import page_loads
from contestants.simulated_workers import WARM_UP_SECONDS
from control_requests import NO_CONTROL, crowd

DASHBOARDS = (0, 1, 4, 16)
REPEATS, STREAMS = 100, 20
STEP_SECONDS = 2.0
_LINK = re.compile(r"""(?:src|href)=["']([^"'#]+)|(?:from|import)\s*\(?["'](\.[^"']+)""")


def first_load(url: str) -> tuple[int, int, int]:
    """Return requests, bytes on the wire and bytes unpacked of the page and what it loads."""
    waiting, seen, sent, whole = [f"{url}/"], set(), 0, 0
    while waiting:
        address = waiting.pop()
        if address in seen or not address.startswith(url):
            continue
        seen.add(address)
        answer = requests.get(address, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=30)
        sent += int(answer.headers["Content-Length"])
        whole += len(answer.content)
        if answer.headers["Content-Type"].startswith(("text/html", "text/javascript")):
            links = _LINK.findall(answer.text)
            waiting += [urljoin(address, link or module) for link, module in links]
    return len(seen), sent, whole


def latencies(url: str) -> dict[str, tuple[list[float], int]]:
    """Return the seconds of each request, over and over, and the bytes of its answer."""
    session = requests.Session()
    number = session.get(f"{url}/rollouts", timeout=30).json()["rollouts"][0]["number"]
    paths = {
        "/health": "/health",
        "/stats": "/stats",
        "/series, 8 of all steps": f"/series?points=400&names={NAMES}",
        "/series, newer": f"/series?points=400&after=9990&names={NAMES}",
        "/rollouts": "/rollouts",
        "/rollouts/{number}": f"/rollouts/{number}",
        "/runs": "/runs",
    }
    found = {}
    for name, path in paths.items():
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            answer = session.get(f"{url}{path}", timeout=30)
            times.append(time.perf_counter() - started)
        found[name] = (times, int(answer.headers["Content-Length"]))
    found["/events, first"] = _first_events(url)
    return found


def _first_events(url: str) -> tuple[list[float], int]:
    times, size = [], 0
    for _ in range(STREAMS):
        started = time.perf_counter()
        with requests.get(f"{url}/events", stream=True, timeout=30) as answer:
            lines = answer.iter_lines(chunk_size=1 << 14)
            while not (line := next(lines)).startswith(b"data:"):
                pass
        times.append(time.perf_counter() - started)
        size = len(line)
    return times, size


def cold_series(run: LongRun) -> float:
    """Return the seconds of the first question for series, which reads all steps."""
    started = time.perf_counter()
    requests.get(f"{run.url}/series", params={"names": "reward"}, timeout=60).raise_for_status()
    return time.perf_counter() - started


def under_load(
    run: LongRun, workers: int, seconds: int, dashboards: int
) -> tuple[float, float, float, float]:
    """Return p50 and p99 of control requests, the server's CPU seconds per minute, and events per
    second and dashboard, with so many workers and dashboards."""
    stopping = threading.Event()
    stepping = threading.Thread(target=_step, args=(run, stopping))
    whole = seconds + WARM_UP_SECONDS
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        watched = pool.apply_async(look_on, (run.url, dashboards, whole))
        stepping.start()
        before, started = run.cpu_seconds(), time.monotonic()
        timed, _ = crowd(run, workers, seconds)  # type: ignore[arg-type] (it has root and url)
        used, lasted = run.cpu_seconds() - before, time.monotonic() - started
        heard = watched.get()
        stopping.set()
        stepping.join()
    times = [taken for name, taken in timed if name not in NO_CONTROL]
    p50, p99 = np.percentile(times, (50, 99))
    return p50, p99, used / lasted * 60, heard / whole / max(dashboards, 1)


def _step(run: LongRun, stopping: threading.Event) -> None:
    while not stopping.wait(STEP_SECONDS):
        run.commit(run.store.run.step() + 1)


def report_requests(run: LongRun, when: str) -> None:
    """Print the time of each request, and its ratio to that of ``/health``."""
    found = latencies(run.url)
    bare = np.percentile(found["/health"][0], 50)
    print(f"\n{when:>26} {'p50 ms':>8} {'p99 ms':>8} {'bytes':>8} {'p50 / health':>13}")
    for name, (times, size) in found.items():
        p50, p99 = np.percentile(times, (50, 99))
        print(f"{name:>26} {p50 * 1000:8.1f} {p99 * 1000:8.1f} {size:8} {p50 / bare:13.1f}")


def report_pages(run: LongRun) -> None:
    """Print how long a browser takes to draw each view, and the ratio to one ``/health``."""
    begun = time.perf_counter()
    requests.get(f"{run.url}/health", timeout=30)
    bare, loads = time.perf_counter() - begun, page_loads(run.url)
    if loads is None:
        print("no page was loaded: that needs a Chromium and pip install playwright")
        return
    print(f"\n{'drawn in a browser':>26} {'median ms':>10} {'most ms':>8} {'x /health':>10}")
    for view, seconds in loads.items():
        middle = float(np.median(seconds))
        print(f"{view:>26} {middle * 1000:10.0f} {max(seconds) * 1000:8.0f} {middle / bare:10.0f}")


def main(steps: int = 10_000, workers: int = 64, seconds: int = 20) -> None:
    """Measure all of it and print it."""
    with tempfile.TemporaryDirectory(prefix="ralo-bench-") as root:
        run = LongRun(Path(root), steps).make()
        run.start()
        try:
            count, sent, whole = first_load(run.url)
            print(f"{steps} steps, {workers} workers, {os.cpu_count()} cores")
            print(
                f"first load: {count} requests, {sent / 1024:.0f} KiB gzip, {whole / 1024:.0f} KiB"
            )
            print(f"first series of a web process: {cold_series(run) * 1000:.0f} ms")
            report_requests(run, "nobody else")
            report_pages(run)
            results = {n: under_load(run, workers, seconds, n) for n in DASHBOARDS}
            report_requests(run, f"{workers} workers known")
            report_pages(run)
        finally:
            run.stop()
    _, p99_without, cpu_without, _ = results[0]
    print(f"\n{'dashboards':>10} {'p50 ms':>7} {'p99 ms':>7} {'x none':>7} {'CPU s/min':>10} "
          f"{'x none':>7} {'CPU s/min each':>15} {'events/s each':>14}")  # fmt: skip
    for number, (p50, p99, cpu, events) in results.items():
        each = (cpu - cpu_without) / number if number else 0.0
        print(f"{number:10} {p50 * 1000:7.1f} {p99 * 1000:7.1f} {p99 / p99_without:7.2f} "
              f"{cpu:10.1f} {cpu / cpu_without:7.2f} {each:15.2f} {events:14.2f}")  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
