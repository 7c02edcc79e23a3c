"""A version of one file of random bytes, served by the real web process of a run."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import attrs
import numpy as np
from safetensors.numpy import save_file

from ralo_core.client import Client
from ralo_core.config import resolve, set_layer
from ralo_core.data import WeightFile, WeightVersion
from ralo_core.files.digests import sha256_of
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_core.structuring import unstructure
from ralo_server.cli.serve import listen
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store

_BLOCK = 16 << 20


@attrs.define(kw_only=True)
class ServedVersion:
    """`file`, which lies at `path`, served at `url` while the context lasts."""

    directory: RunDirectory
    file: WeightFile
    path: Path
    listener: socket.socket = attrs.field(factory=lambda: listen("127.0.0.1", 0))
    url: str = ""
    web: int = 0

    @classmethod
    def of_size(cls, root: Path, size: int) -> "ServedVersion":
        """Make a run below `root` whose version 0 is one file of `size` bytes."""
        for name in ("model", "run"):
            shutil.rmtree(root / name, ignore_errors=True)
        model = root / "model"
        model.mkdir()
        save_file({"w": np.zeros(1, np.float32)}, model / "model.safetensors")
        for name in ("config.json", "tokenizer.json"):
            (model / name).write_text("{}")
        settings = [f"run.model={model}", "server.min_free_mb=0"]
        config = resolve([set_layer(settings)], Registry(PluginHost().load()))
        directory = RunDirectory(root / "run")
        prepare(directory, config, "benchmark")
        store = Store(directory, config)
        folder = store.versions.directory(0)
        folder.mkdir()
        path = folder / "model.safetensors"
        with path.open("wb") as file:
            for start in range(0, size, _BLOCK):
                file.write(os.urandom(min(_BLOCK, size - start)))
        part = WeightFile(name=path.name, size=size, sha256=sha256_of(path))
        version = WeightVersion(
            number=0, parent=None, sha256=part.sha256, files=(part,), created=time.time()
        )
        (folder / "manifest.json").write_text(json.dumps(unstructure(version)))
        with store.database.write() as connection:
            store.versions.add(connection, version, 0)
        return cls(directory=directory, file=part, path=path)

    def __enter__(self) -> "ServedVersion":
        """Start the web process and wait for it."""
        number = self.listener.fileno()
        command = [sys.executable, "-m", "ralo_server.web", str(self.directory.root), str(number)]
        self.web = subprocess.Popen(command, pass_fds=[number]).pid
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        Client(self.url).health()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        os.kill(self.web, 15)
        os.waitpid(self.web, 0)
        self.listener.close()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the server processes have used."""
        children = Path(f"/proc/{self.web}/task/{self.web}/children").read_text().split()
        ticks = 0
        for pid in (self.web, *map(int, children)):
            row = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()
            ticks += int(row[11]) + int(row[12])
        return ticks / os.sysconf("SC_CLK_TCK")
