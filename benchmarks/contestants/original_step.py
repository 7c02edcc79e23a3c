"""The original RALO's way from an upload to new weights, re-created from its description.

    python original_step.py FOLDER STEPS COPIES

An upload arrives in chunks of 50 MB, each a file; they are concatenated into one file, which is
read and parsed for its metadata alone. The step clones every parameter, builds an AdamW and loads
the kept state into it; every gradient is read and parsed again and added up in bf16; parameters,
gradients and moments are bf16. The weights are written in place. Neither chunks, gradients nor
weights are synced, and the optimizer state is never stored.

Where the original pickles (torch.save, torch.load), this uses safetensors, which is faster.
Prints JSON.
"""

import copy
import json
import sys
import time
from pathlib import Path

import torch
from measuring import io_counters, sampled_memory
from safetensors.torch import load, load_file, save_file

CHUNK_BYTES = 50 << 20


class Original:
    """Weights in memory and the optimizer state that outlives a step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stored = load_file(folder / "model" / "model.safetensors")
        self.weights = {name: value.clone() for name, value in stored.items()}
        self.state: dict[str, object] | None = None

    def receive(self, source: Path, number: int) -> Path:
        """Take an upload: chunk files, one file of them, read and parsed once."""
        chunks = []
        with source.open("rb") as sent:
            while body := sent.read(CHUNK_BYTES):
                chunks.append(self.folder / f"upload_chunk_{len(chunks)}.bin")
                chunks[-1].write_bytes(body)
        path = self.folder / f"gradient_{number}.bin"
        with path.open("wb") as whole:
            for chunk in chunks:
                whole.write(chunk.read_bytes())
                chunk.unlink()
        load(path.read_bytes())
        return path

    def step(self, gradients: list[Path], target: Path) -> None:
        """Take a step with `gradients` and write the weights to `target`."""
        parameters = {
            name: torch.nn.Parameter(value.clone()) for name, value in self.weights.items()
        }
        optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6, weight_decay=0.0)
        if self.state is not None:
            optimizer.load_state_dict(self.state)
        for path in gradients:
            for name, value in load(path.read_bytes()).items():
                parameter = parameters[name]
                parameter.grad = value if parameter.grad is None else parameter.grad + value
            path.unlink()
        for parameter in parameters.values():
            parameter.grad.div_(len(gradients))
        optimizer.step()
        self.state = copy.copy(optimizer.state_dict())
        with torch.no_grad():
            for name, parameter in parameters.items():
                self.weights[name].copy_(parameter)
        save_file(self.weights, target)


def main() -> None:
    """Take the steps and print the report."""
    folder, steps, copies = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    rows = []
    with sampled_memory() as peak:
        original = Original(folder)
        for step in range(1, steps + 1):
            before, started = io_counters(), time.perf_counter()
            uploads = [original.receive(folder / "gradient.safetensors", n) for n in range(copies)]
            received = time.perf_counter()
            original.step(uploads, folder / f"weights_v{step}.safetensors")
            stepped = time.perf_counter()
            moved = {name: value - before[name] for name, value in io_counters().items()}
            rows.append({"receive": received - started, "step": stepped - received, **moved})
            (folder / f"weights_v{step - 1}.safetensors").unlink(missing_ok=True)
    print(json.dumps({"steps": rows, "before": peak.before, "most": peak.most}))


if __name__ == "__main__":
    main()
