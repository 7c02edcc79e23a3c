"""A gradient upload through real gunicorn over loopback, against `cp` of the same bytes.

Both begin with the bytes in memory (`cp` reads from /dev/shm) and end with them on the same disk:
`cp` is followed by fsync of the file, the upload returns after fdatasync of every chunk, the
check of every value at the door and the commit. So neither is spared the disk by the page cache.
Before each of the two the disk is idle (sync) and the file of the one before is gone, with its
pages; they take turns in going first, and the ratio is that of the medians. What the server
processes read and wrote comes from /proc/PID/io: `write_bytes` and `read_bytes` are what went to
and came from the disk, `rchar` and `wchar` what passed through read and write calls, sockets left
out. The learner's one read is not part of an upload.

Server and client share this machine's cores here, which they do not in a run. Where the disk is
faster than both of them together, cores are the limit. So their CPU seconds per GiB are printed,
in user and system mode, beside those of `cp`, and what the digest (once on each side) and the
door's check take of them when nothing else runs; from these follows the best ratio that so many
cores allow, if nobody ever waits. A second reference verifies as the upload does: digest of the
source, `cp`, fsync, digest of the copy.

    python benchmarks/upload_throughput.py [MIB] [ROUNDS] [FOLDER_ON_THE_DISK]
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from ralo_core import PROMPT, TreeBuilder, WeightVersion, wire
from ralo_core.client import Client, WholeBody
from ralo_core.config import resolve, set_layer
from ralo_core.files.digests import digest_of
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.cli.serve import listen
from ralo_server.gradients.checks import inspect
from ralo_server.gradients.parameters import write_parameter_shapes
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store

MIB = 1 << 20
COLUMNS = 4096
SETTINGS = ("trainer.batch_trees=1", "server.port=0", "evaluation.problems=0")
COUNTERS = ("write_bytes", "read_bytes", "wchar", "rchar")


@attrs.frozen
class Cpu:
    """CPU seconds in user and in system mode."""

    user: float
    system: float

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.user - other.user, self.system - other.system)

    @property
    def total(self) -> float:
        """Both together."""
        return self.user + self.system


@attrs.frozen(kw_only=True)
class Upload:
    """One upload: its seconds, and what the server processes read and wrote meanwhile."""

    seconds: float
    counters: Counter[str]
    server: Cpu
    client: Cpu


@attrs.frozen(kw_only=True)
class Copy:
    """One `cp` with fsync: its seconds, and those of the digests that would verify it."""

    seconds: float
    verifying: float
    cpu: Cpu


def make_run(root: Path, shape: tuple[int, int]) -> tuple[RunDirectory, Store]:
    """Return a run whose version 0 says that the model is one matrix of `shape`."""
    model = root / "model"
    model.mkdir()
    save_file({"w": np.zeros(1, np.float32)}, model / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text("{}")
    config = resolve([set_layer([f"run.model={model}", *SETTINGS])], Registry(PluginHost().load()))
    directory = RunDirectory(root / "run")
    prepare(directory, config, "benchmark")
    write_parameter_shapes(directory, {"w": shape})
    store = Store(directory, config)
    version = WeightVersion(number=0, parent=None, sha256="", files=(), created=time.time())
    with store.database.write() as connection:
        store.versions.add(connection, version, 0)
    return directory, store


def processes(master: int) -> list[int]:
    """Return the ids of gunicorn's master and its workers."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text()
    return [master, *map(int, children.split())]


def counters(master: int) -> Counter[str]:
    """Return the sums of /proc/PID/io over the server processes."""
    total: Counter[str] = Counter()
    for pid in processes(master):
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            name, value = line.split(": ")
            total[name] += int(value)
    return total


def server_cpu(master: int) -> Cpu:
    """Return what the server processes have used."""
    fields = [
        Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split() for pid in processes(master)
    ]
    ticks = os.sysconf("SC_CLK_TCK")
    return Cpu(sum(int(row[11]) for row in fields) / ticks, sum(int(r[12]) for r in fields) / ticks)


def own_cpu(who: int = resource.RUSAGE_SELF) -> Cpu:
    """Return what this process, or its ended children, have used."""
    usage = resource.getrusage(who)
    return Cpu(usage.ru_utime, usage.ru_stime)


def lease_batch(client: Client) -> str:
    """Return the id of a batch, made from nothing over HTTP."""
    problems = client.problems(1)
    assert problems
    leased = problems[0]
    builder = TreeBuilder(leased.problem.id, [1], lease_id=leased.lease_id)
    builder.add_leaf(builder.add_segment(PROMPT, [2], [-1.0], 0), "eos")
    client.upload_tree(builder.build().with_rewards({}, np.ones(1, np.float32)))
    batch = client.batch()
    assert batch is not None
    return batch.id


def time_upload(
    client: Client, store: Store, values: npt.NDArray[np.float32], master: int
) -> Upload:
    """Return time and traffic of one upload; its file is removed afterwards."""
    batch, upload_id = lease_batch(client), uuid.uuid4().hex
    os.sync()
    before, server, own = counters(master), server_cpu(master), own_cpu()
    started = time.perf_counter()
    body = WholeBody({"codec": "none"}, {"w": values}, client.transport)
    client.send_gradient(
        body, upload_id=upload_id, batch_id=batch, base_version=0, weight=1.0,
        codec="none", metrics={},
    )  # fmt: skip
    seconds = time.perf_counter() - started
    done = Upload(
        seconds=seconds,
        counters=counters(master) - before,
        server=server_cpu(master) - server,
        client=own_cpu() - own,
    )
    forget(store, upload_id)
    return done


def forget(store: Store, upload_id: str) -> None:
    """Do what the learner does after a step."""
    upload = store.uploads.find(upload_id)
    assert upload is not None
    upload.path.unlink()
    with store.database.write() as connection:
        connection.execute("UPDATE gradients SET state = 'applied'")


def time_cp(source: Path, target: Path) -> Copy:
    """Return what `cp` and fsync take; the copy is removed afterwards."""
    os.sync()
    before, started = own_cpu(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    copied = time.perf_counter()
    for path in (source, target):
        with path.open("rb") as file:
            digest_of(iter(lambda: file.read(MIB), b""))  # noqa: B023
    done = Copy(
        seconds=copied - started,
        verifying=time.perf_counter() - copied,
        cpu=own_cpu(resource.RUSAGE_CHILDREN) - before,
    )
    target.unlink()
    return done


def door_cpu(directory: RunDirectory, values: npt.NDArray[np.float32], codec: object) -> Cpu:
    """Return what the check of all values takes, from a file in the page cache."""
    path = directory.root / "door.safetensors"
    save_file({"w": values.ravel()}, path)
    before = own_cpu()
    found = inspect(path, {"w": values.shape}, codec)  # type: ignore[arg-type]
    used = own_cpu() - before
    assert not found.reason, found.detail
    path.unlink()
    return used


def digest_cpu(values: npt.NDArray[np.float32]) -> Cpu:
    """Return what one digest of all values takes."""
    before = own_cpu()
    digest_of(wire.view({}, {"w": values}))
    return own_cpu() - before


def compare(root: Path, mib: int, rounds: int) -> None:
    """Measure both in turns and print the ratios."""
    values = np.random.default_rng(0).standard_normal(
        (mib * MIB // 4 // COLUMNS, COLUMNS), dtype=np.float32
    )
    directory, store = make_run(root, values.shape)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory, listen("127.0.0.1", 0) as socket:  # noqa: S108
        source = Path(memory) / "body"
        with source.open("wb") as file:
            file.writelines(wire.view({}, {"w": values}))
        web = subprocess.Popen(
            [sys.executable, "-m", "ralo_server.web", str(directory.root), str(socket.fileno())],
            pass_fds=[socket.fileno()],
        )
        try:
            client = Client(f"http://127.0.0.1:{socket.getsockname()[1]}", "trainer")
            client.health()
            time_upload(client, store, values, web.pid)  # the first one warms both sides up
            uploads: list[Upload] = []
            copies: list[Copy] = []
            for number in range(rounds):
                if number % 2:
                    copies.append(time_cp(source, root / "copy"))
                uploads.append(time_upload(client, store, values, web.pid))
                if not number % 2:
                    copies.append(time_cp(source, root / "copy"))
                upload, copy = uploads[-1].seconds, copies[-1].seconds
                print(f"upload {upload:.2f} s  cp {copy:.2f} s  {copy / upload:.2f} x")
        finally:
            web.terminate()
            web.wait(30)
    codec = store.config.registry.build("gradient_codec", "none", None, None)  # type: ignore[arg-type]
    report_speed(mib, uploads, copies)
    report_cpu(mib, uploads, copies, digest_cpu(values), door_cpu(directory, values, codec))


def report_speed(mib: int, uploads: list[Upload], copies: list[Copy]) -> None:
    """Print medians, their ratios and the traffic per gradient byte."""
    upload = statistics.median(one.seconds for one in uploads)
    copy = statistics.median(one.seconds for one in copies)
    verified = statistics.median(one.seconds + one.verifying for one in copies)
    print(f"gradient of {mib} MiB, median of {len(copies)}")
    print(f"upload           {mib / upload:8.0f} MiB/s")
    print(f"cp + fsync       {mib / copy:8.0f} MiB/s")
    print(f"upload / cp      {copy / upload:8.2f}   (promise: 0.8)")
    print(f"upload / verified cp {verified / upload:4.2f}")
    for name in COUNTERS:
        middle = statistics.median(one.counters[name] for one in uploads)
        print(f"{name:<16} {middle / (mib * MIB):8.3f}   per gradient byte")


def report_cpu(mib: int, uploads: list[Upload], copies: list[Copy], digest: Cpu, door: Cpu) -> None:
    """Print CPU seconds per GiB by part, and what ratio the cores allow."""
    client = middle_of([one.client for one in uploads])
    server = middle_of([one.server for one in uploads])
    parts = {
        "client": client,
        "server": server,
        "cp": middle_of([one.cpu for one in copies]),
        "digest alone": digest,
        "door alone": door,
    }
    print("CPU s per GiB       user   system")
    for name, cpu in parts.items():
        print(f"  {name:<13} {cpu.user * 1024 / mib:8.2f} {cpu.system * 1024 / mib:8.2f}")
    cores = len(os.sched_getaffinity(0))
    copy = statistics.median(one.seconds for one in copies)
    best = copy / ((client.total + server.total) / cores)
    print(f"best ratio on {cores} cores {best:5.2f}   (if they never waited)")


def middle_of(used: list[Cpu]) -> Cpu:
    """Return the medians of both modes."""
    return Cpu(
        statistics.median(one.user for one in used), statistics.median(one.system for one in used)
    )


def main() -> None:
    """Read the arguments and clean up behind the benchmark."""
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    root = Path(tempfile.mkdtemp(prefix="ralo-upload-", dir=sys.argv[3] if sys.argv[3:] else None))
    try:
        compare(root, mib, rounds)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
