"""The proof of layers, on vLLM's own CPU kernels: a stale layer is mended or named."""

import pytest
import torch

from ralo_core import RaloError


class Layer(torch.nn.Module):
    """A layer of vLLM reduced to what the proof looks at."""

    def __init__(self, method, weight):
        super().__init__()
        self.quant_method = method
        self.weight = weight
        self.embedding_dim = weight.shape[1]


def matrix(seed):
    torch.manual_seed(seed)
    return torch.nn.Parameter(torch.randn(64, 32), requires_grad=False)


@pytest.fixture
def model():
    """A linear layer, and an embedding whose matrix the output layer shares."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    shared = matrix(0)
    layers = {
        "linear": Layer(UnquantizedLinearMethod(), matrix(1)),
        "embedding": Layer(UnquantizedEmbeddingMethod(), shared),
        "head": Layer(UnquantizedEmbeddingMethod(), shared),
    }
    for layer in layers.values():
        layer.quant_method.process_weights_after_loading(layer)
    return torch.nn.ModuleDict(layers)


@pytest.fixture
def proof(model):
    from ralo_worker.engines.vllm.layers import LayerProof

    return LayerProof(model)


def reload(layer, weight):
    """What vLLM does with a layer that is loaded again."""
    kept = layer.weight
    layer.weight = weight
    layer.quant_method.process_weights_after_loading(layer)
    if kept.numel():
        kept.data.copy_(weight)
        layer.weight = kept


def output(layer, x):
    return layer.quant_method.apply(layer, x)


def test_an_output_layer_that_shares_its_matrix_computes_with_the_new_one(model, proof):
    x = torch.randn(3, 32)
    proof.begin()
    reload(model["linear"], matrix(2))
    reload(model["embedding"], matrix(3))
    assert not torch.allclose(output(model["head"], x), x @ matrix(3).T), "stale until mended"
    proof.finish()
    assert torch.allclose(output(model["head"], x), x @ matrix(3).T, atol=1e-4)


def test_a_layer_that_was_not_loaded_is_named(model, proof):
    proof.begin()
    reload(model["embedding"], matrix(3))
    with pytest.raises(RaloError, match="1 layers do not compute with the new weights: linear"):
        proof.finish()


def test_a_layer_that_goes_on_with_its_old_matrix_is_named(model, proof):
    old = model["linear"].cpu_linear
    proof.begin()
    reload(model["linear"], matrix(2))
    reload(model["embedding"], matrix(3))
    model["linear"].cpu_linear = old
    with pytest.raises(RaloError, match="new weights: linear"):
        proof.finish()


def test_a_shared_matrix_that_did_not_arrive_is_noticed(model, proof):
    proof.begin()
    reload(model["linear"], matrix(2))
    kept = model["embedding"].weight
    reload(model["embedding"], matrix(3))
    kept.data.copy_(matrix(4))
    with pytest.raises(RaloError, match="new weights: head"):
        proof.finish()


def test_a_kernel_that_computes_something_else_is_noticed(model, proof):
    proof.begin()
    reload(model["embedding"], matrix(3))
    process = model["linear"].quant_method.process_weights_after_loading
    model["linear"].weight = matrix(2)
    other = torch.randn(64, 32)
    model["linear"].quant_method.apply = lambda layer, x: x @ other.T
    process(model["linear"])
    with pytest.raises(RaloError, match="new weights: linear"):
        proof.finish()


def test_watching_leaves_no_trace(model, proof):
    before = [dict(vars(layer.quant_method)) for layer in model.values()]
    for _ in range(2):
        proof.begin()
        reload(model["linear"], matrix(2))
        reload(model["embedding"], matrix(3))
        proof.finish()
    assert [dict(vars(layer.quant_method)) for layer in model.values()] == before
