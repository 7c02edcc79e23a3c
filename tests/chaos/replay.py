"""The run once more without any accident: the committed steps, computed one after the other.

Every step is computed twice from gradients that are made again: with the learner's own code, which
must give the same bits, and with torch's AdamW.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file

from chaos.content import make_gradient
from ralo_core import wire
from ralo_core.config import resolve, set_layer
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.learner.loop import Learner
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store import Store

_WEIGHTS = "model.safetensors"
_RATE = 0.01


def final_weights(run_dir, version):
    """Return the path of the published weights of a version."""
    return RunDirectory(run_dir).weights / f"v{version:06d}" / _WEIGHTS


def replayed_weights(ledger, settings, folder):
    """Return the path of the weights that the learner's code makes of the ledger's steps."""
    config = resolve([set_layer(list(settings))], Registry(PluginHost().load()))
    directory = RunDirectory(folder)
    prepare(directory, config, "")
    learner = Learner(Store(directory, config), PluginHost())
    learner.open()
    target = directory.weights / "v000000"
    for step, uploads in ledger.steps.items():
        weighted = [(_file(ledger, upload, folder), weight) for upload, weight in uploads]
        target = directory.weights / f"v{step:06d}"
        learner.files.write(learner.master, step, weighted, target, step)
    return target / _WEIGHTS


def torch_weights(ledger, model):
    """Return the tensors that torch's AdamW makes of the ledger's steps, by name."""
    parameters = {
        name: torch.nn.Parameter(value) for name, value in load_file(model / _WEIGHTS).items()
    }
    optimizer = torch.optim.AdamW(parameters.values(), lr=_RATE, weight_decay=0.0)
    for uploads in ledger.steps.values():
        total = sum(weight for _, weight in uploads)
        values = [(_values(ledger, upload), weight / total) for upload, weight in uploads]
        for name, parameter in parameters.items():
            mean = sum(gradient[name].astype("float64") * share for gradient, share in values)
            parameter.grad = torch.from_numpy(mean.astype("float32")).view(parameter.shape)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
    return {name: parameter.data for name, parameter in parameters.items()}


def _values(ledger, upload):
    return make_gradient(upload, ledger.gradients_sent[upload]["leases"])


def _file(ledger, upload, folder):
    path = Path(folder) / f"{upload}.gradient"
    path.write_bytes(wire.pack({"codec": "none"}, _values(ledger, upload)))
    return path
