"""Weights over HTTP against `cp` of the same bytes, with 1 and 8 clients; a relay's share of it.

A real web process serves one file of random bytes; a client is a process that fetches it as a
worker does (four connections, sha256 on the way) into a folder of its own. `cp` reads the same
file, which is in the page cache for both; both end with the bytes synced on the same disk. Before
each the disk is idle and the copies of the one before are gone; they take turns in going first, and
the ratio is that of the medians of wall time, from the start of all clients, with their Python
running, to the end of the last.

Server and clients share this machine's cores here, which they do not in a run, so CPU seconds are
printed, and a second reference that verifies as a client does: `cp`, fsync, sha256 of the copy.

The last part puts a real nginx with the configuration of ``ralo launch relay`` between the server
and 16 clients, and a link of bounded speed behind it, and counts the bytes on the link.

    python benchmarks/weights_download.py [MIB] [ROUNDS] [FOLDER_ON_THE_DISK]
"""

import hashlib
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import attrs
from contestants.served_version import ServedVersion

from ralo.launch.relay import Relay
from ralo_core.client import Client
from ralo_worker.weights.parts import PartFetcher
from ralo_worker.weights.sources import Sources

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from slow_link import SlowLink  # the same link that the tests of the relay use

MIB = 1 << 20
SAMPLERS, LINK_MIB = 16, 10
STREAMS = (1, 2, 4, 8)


@attrs.frozen(kw_only=True)
class Fetch:
    """What a client process is to do: fetch the part of `served` from `relays` or the server
    into `folder`, over `streams` connections."""

    served: ServedVersion
    folder: Path
    relays: tuple[str, ...] = ()
    streams: int = 4

    def __call__(self, number: int, ready: Barrier) -> None:
        """Fetch, once all clients are there."""
        target = self.folder / f"client-{number}"
        client = Client(self.served.url, f"client-{number}")
        fetcher = PartFetcher(Sources(client, self.relays), streams=self.streams)
        ready.wait()
        fetcher.fetch(self.served.file, target)


@attrs.frozen(kw_only=True)
class Copy:
    """What a client is measured against: `cp` of `source` into `folder`, fsync, and with `verify`
    the sha256 of the copy."""

    source: Path
    folder: Path
    verify: bool = False

    def __call__(self, number: int, ready: Barrier) -> None:
        """Copy, once all clients are there."""
        target = self.folder / f"copy-{number}"
        ready.wait()
        subprocess.run(["cp", str(self.source), str(target)], check=True)
        with target.open("rb") as file:
            os.fsync(file.fileno())
            if self.verify:
                hashlib.file_digest(file, "sha256")


def timed(work: Callable[[int, Barrier], None], clients: int, folder: Path) -> tuple[float, float]:
    """Return the seconds of `work` in `clients` processes at once, and their CPU seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(clients + 1)
    processes = [context.Process(target=work, args=(n, ready)) for n in range(clients)]
    before = sum(os.times()[2:4])
    for process in processes:
        process.start()
    ready.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
        if process.exitcode:
            msg = f"a client ended with {process.exitcode}"
            raise SystemExit(msg)
    return time.perf_counter() - started, sum(os.times()[2:4]) - before


def compare(served: ServedVersion, root: Path, clients: int, rounds: int) -> None:
    """Measure fetching and copying in turns and print the ratios."""
    folder, source = root / "copies", served.path
    contestants: dict[str, Callable[[int, Barrier], None]] = {
        "fetch": Fetch(served=served, folder=folder),
        "cp": Copy(source=source, folder=folder),
        "verified cp": Copy(source=source, folder=folder, verify=True),
    }
    timed(contestants["fetch"], clients, folder)  # the first one warms both sides up
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    server = served.cpu_seconds()
    for turn in range(rounds):
        names = list(contestants)
        for name in names if turn % 2 else reversed(names):
            times[name].append(timed(contestants[name], clients, folder))
    server = (served.cpu_seconds() - server) / rounds
    seconds = {name: statistics.median(s for s, _ in taken) for name, taken in times.items()}
    cpu = statistics.median(c for _, c in times["fetch"])
    mib = served.file.size * clients / MIB
    print(f"\n{clients} client(s), {served.file.size // MIB} MiB each, {rounds} rounds")
    for name, taken in seconds.items():
        print(f"  {name:<12} {mib / taken:8.0f} MiB/s")
    print(f"  fetch / cp           {seconds['cp'] / seconds['fetch']:6.2f}   (promise: 0.8)")
    print(f"  fetch / verified cp  {seconds['verified cp'] / seconds['fetch']:6.2f}")
    print(f"  CPU per GiB: server {server * 1024 / mib:.2f} s, client {cpu * 1024 / mib:.2f} s")


def compare_streams(served: ServedVersion, root: Path, rounds: int) -> None:
    """Print what more connections are worth."""
    folder = root / "copies"
    times: dict[int, list[float]] = {streams: [] for streams in STREAMS}
    for _ in range(rounds):
        for streams in STREAMS:
            work = Fetch(served=served, folder=folder, streams=streams)
            times[streams].append(timed(work, 1, folder)[0])
    base = statistics.median(times[1])
    shares = ", ".join(f"{n}: {base / statistics.median(t):.2f}" for n, t in times.items())
    print(f"\nspeed by connections, 1 being 1: {shares}")


def count_behind_relay(served: ServedVersion, root: Path, nginx: str) -> None:
    """Print what 16 clients behind a relay cost the server."""
    link = SlowLink(int(served.url.rpartition(":")[2]), LINK_MIB * MIB)
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    folder = root / "relay"
    (folder / "temporary").mkdir(parents=True)
    relay = Relay(server=link.url, listen=listen, folder=folder, max_gb=100, ca=folder)
    (folder / "nginx.conf").write_text(relay.config())
    command = [nginx, "-p", str(folder), "-c", "nginx.conf"]
    command += ["-g", "user root;"] if os.geteuid() == 0 else []
    process = subprocess.Popen(command)
    time.sleep(1.0)
    work = Fetch(served=served, folder=root / "copies", relays=(f"http://{listen}",))
    seconds, _ = timed(work, SAMPLERS, root / "copies")
    process.terminate()
    process.wait()
    size, carried = served.file.size, link.received
    link.close()
    print(f"\n{SAMPLERS} clients behind nginx, link of {LINK_MIB} MiB/s, {size // MIB} MiB")
    print(f"  bytes on the link / bytes of the file  {carried / size:.4f}   (promise: 1)")
    print(f"  seconds / seconds of the link alone    {seconds / (carried / LINK_MIB / MIB):.2f}")


def main() -> None:
    """Read the arguments and clean up behind the benchmark."""
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    where = sys.argv[3] if sys.argv[3:] else None
    root = Path(tempfile.mkdtemp(prefix="ralo-download-", dir=where))
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    try:
        with ServedVersion.of_size(root, mib * MIB) as served:
            compare(served, root, 1, rounds)
            compare_streams(served, root, rounds)
        with ServedVersion.of_size(root, mib // 4 * MIB) as served:
            compare(served, root, 8, rounds)
            if nginx:
                count_behind_relay(served, root, nginx)
            else:
                print("no nginx here: the relay was not measured")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
