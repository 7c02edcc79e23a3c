"""Validation: gradients that must not be used are refused by name, and counted."""

import json
import math
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from upload_runs import another_batch, files, stats

from ralo_server.gradients.checks import Inspection, check_norm
from ralo_server.gradients.slices import sum_of_squares


def with_nan(values):
    values["b.bias"][2] = np.nan
    return values


def as_float64(values):
    return {**values, "b.bias": values["b.bias"].astype(np.float64)}


@pytest.mark.parametrize(
    ("spoil", "changes", "reason", "message"),
    [
        (with_nan, {}, "not_finite", "tensor 'b.bias' has 1 values that are not finite"),
        (lambda v: {**v, "b.bias": v["b.bias"][:3]}, {}, "layout", "'b.bias' has 3 values, its"),
        (as_float64, {}, "layout", "tensor 'b.bias' cannot be decoded: ValueError('expected fl"),
        (lambda v: {"a.weight": v["a.weight"]}, {}, "layout", "tensor 'b.bias' is missing"),
        (lambda v: {**v, "c": v["b.bias"]}, {}, "layout", "tensor 'c' is not a parameter"),
        (lambda v: v, {"weight": 0.0}, "declaration", "weight must be a finite number above 0"),
        (lambda v: v, {"base_version": 3}, "declaration", "base_version 3 does not exist"),
        (lambda v: v, {"codec": "bf16"}, "declaration", "the run uses codec 'none'"),
        (lambda v: v, {"size": 1 << 40}, "declaration", "size must lie in [1, "),
        (lambda v: v, {"chunk_bytes": -1}, "declaration", "chunk_bytes must be at least 1"),
        (lambda v: v, {"chunk_digests": []}, "declaration", "are 1 chunks, got 0 digests"),
        (lambda v: v, {"chunk_digests": ["F" * 64]}, "declaration", "no blake3"),
    ],
)
def test_a_gradient_that_must_not_be_used_is_refused_by_name_and_counted(
    leased, random_gradient, spoil, changes, reason, message
):
    run, batch, _ = leased()
    answer = run.send_gradient(batch.id, spoil(random_gradient(0)), "bad", **changes)
    assert answer.status_code == 422
    assert message in answer.json["detail"]
    refused = reason == "not_finite"
    assert answer.json["type"] == f"urn:ralo:{'gradient-refused' if refused else 'invalid'}"
    assert stats(run)["refused"] == 1
    assert stats(run)["refused_by_reason"][reason] == 1
    assert files(run) == []
    again = run.send_gradient(batch.id, spoil(random_gradient(0)), "bad", **changes)
    assert (again.status_code, again.json) == (422, answer.json)
    assert stats(run)["refused"] == 1, "the same refusal counts once"
    run.send_gradient(batch.id, spoil(random_gradient(0)), "worse", **changes)
    assert stats(run)["refused"] == 2, "another upload is another refusal"
    assert run.send_gradient(batch.id, random_gradient(0), "fine").status_code == 200


def test_a_declaration_with_digests_of_another_kind_is_no_declaration(leased):
    run, batch, body = leased()
    answer = run.declare(batch.id, body, "u", digest="sha256")
    assert (answer.status_code, answer.json["type"]) == (422, "urn:ralo:invalid")
    assert "GradientUpload.digest: must be one of 'blake3'" in answer.json["detail"]


def encoded(run, values):
    return {
        f"{name}{suffix}": array
        for name, value in values.items()
        for suffix, array in run.services.codec.encode(name, value).items()
    }


@pytest.mark.parametrize("codec", ["none", "bf16", "int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_every_codec_lets_the_door_see_what_is_not_finite(leased, random_gradient, codec, bad):
    run, batch, _ = leased(f"codec.use='{codec}'")
    values = random_gradient(0)
    values["a.weight"][7] = bad
    answer = run.send_gradient(batch.id, encoded(run, values), "u", codec=codec)
    assert "tensor 'a.weight' has" in answer.json["detail"]
    assert stats(run)["refused_by_reason"]["not_finite"] == 1


@pytest.mark.parametrize("codec", ["none", "bf16", "int8"])
def test_finite_values_whose_squares_overflow_float32_are_accepted(leased, random_gradient, codec):
    run, batch, _ = leased(f"codec.use='{codec}'")
    values = {name: value * np.float32(1e30) for name, value in random_gradient(0).items()}
    answer = run.send_gradient(batch.id, encoded(run, values), "u", codec=codec)
    assert answer.status_code == 200, answer.json
    (found,) = run.store.uploads.accepted_norms(1)
    exact = math.sqrt(math.fsum(float(x) ** 2 for value in values.values() for x in value))
    assert found == pytest.approx(exact, rel=1e-2)


@given(
    size=st.integers(0, 20_000),
    scale=st.sampled_from([1e-15, 1.0, 1e15, 1e19, 1e30, 3e37]),
    seed=st.integers(0, 9),
)
def test_the_sum_of_squares_is_that_of_exact_arithmetic(size, scale, seed):
    values = (np.random.default_rng(seed).normal(size=size) * scale).astype(np.float32)
    exact = math.fsum(float(value) ** 2 for value in values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sum_of_squares(values) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 4095, 4096, 8999])
def test_the_sum_of_squares_is_not_finite_where_a_value_is_not(bad, place):
    values = np.full(9000, 1e30, np.float32)
    assert np.isfinite(sum_of_squares(values))
    values[place] = bad
    assert not np.isfinite(sum_of_squares(values))


def test_an_outlier_is_refused_with_norm_median_and_tensor(leased, random_gradient):
    run, batch, _ = leased("server.max_norm_ratio=50.0")
    norms = []
    for number in range(8):
        values = random_gradient(number)
        norms.append(float(np.sqrt(sum((v.astype("f8") ** 2).sum() for v in values.values()))))
        huge = {**values, "b.bias": values["b.bias"] * np.float32(1e4)}
        if number == 7:  # seven norms are too few to judge by
            assert run.send_gradient(batch.id, huge, "early").status_code == 200
            run.the_learner.step(run.store.gradients.pending())
        else:
            assert run.send_gradient(batch.id, values, f"g{number}").status_code == 200
        batch = another_batch(run)
    answer = run.send_gradient(batch.id, huge, "late")
    assert answer.status_code == 422
    assert answer.json["type"] == "urn:ralo:gradient-refused"
    found = run.store.uploads.accepted_norms(8)
    assert found[1:] == pytest.approx(norms[6::-1], rel=1e-6)
    for part in (f"{np.median(found):.4g}, the median of the last 8", "'b.bias' has the largest"):
        assert part in answer.json["detail"]
    assert stats(run)["refused_by_reason"]["outlier"] == 1
    assert run.send_gradient(batch.id, values, "fine").status_code == 200


def test_the_norm_check_can_be_off_and_has_nothing_to_say_about_zeros():
    found = Inspection(norm=1e9, largest="w", share=1.0)
    assert check_norm(found, [1.0] * 8, 1e8).reason == "outlier"
    assert check_norm(found, [1.0] * 8, 0.0) == found
    assert check_norm(found, [0.0] * 8, 1e8) == found
    assert check_norm(found, [1.0] * 7, 1e8) == found


def test_a_refused_batch_is_set_aside_and_the_run_goes_on(leased, random_gradient):
    run, batch, _ = leased()
    run.send_gradient(batch.id, with_nan(random_gradient(0)), "bad")
    body = {"lease_ids": [batch.id], "outcome": "failed", "reason": "nan"}
    for released in (1, 0):
        answer = run.http.simulate_post("/lease/release", json=body)
        assert answer.json == {"released": released}
    assert run.batch() is None
    trees = run.http.simulate_get("/stats").json["trees"]
    assert (trees["queued"], trees["leased"], trees["failed"]) == (0, 0, 1)
    assert run.store.trees.unfinished() == 0
    assert len(list(run.directory.samples.iterdir())) == 1, "nothing is deleted"


def test_a_metric_that_overflows_is_refused_by_name(leased):
    run, batch, body = leased()
    declaration = json.dumps(run.declaration(batch.id, body, "u", len(body)))
    answer = run.http.simulate_post(
        "/gradient/declare", body=declaration.replace('"loss": 0.5', '"loss": 1e999')
    )
    assert answer.status_code == 422
    assert "metric 'loss' is not finite" in answer.json["detail"]
