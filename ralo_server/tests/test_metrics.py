"""Metrics against brute force over all subsets, and intervals against scipy."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ralo_core import Problem, RaloError
from ralo_core.errors import ConfigError
from ralo_core.options.benchmarks import BenchmarkSettings
from ralo_core.options.metric_names import parse_metric
from ralo_core.structuring import structure
from ralo_server.evaluation import ItemResult, estimates, load_scores
from ralo_server.evaluation.bootstrap import RESAMPLES, estimate_means
from ralo_server.evaluation.scores import majority, pass_at

stats = pytest.importorskip("scipy.stats")
FOUR = {"samples": 4, "temperature": 1.0}


def item(correct, predictions=None, answer="x", name="p"):
    correct = tuple(map(bool, correct))
    predictions = tuple(predictions or ("x" if right else "" for right in correct))
    return ItemResult(
        problem=Problem(id=name, prompt="?", answer=answer),
        reference=answer,
        predictions=predictions,
        correct=correct,
        texts=predictions,
    )


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_response(correct, data):
    k = data.draw(st.integers(1, len(correct)))
    subsets = list(itertools.combinations(correct, k))
    assert pass_at(item(correct), k) == pytest.approx(np.mean([any(some) for some in subsets]))


def test_pass_at_k_does_not_overflow_nor_lose_what_is_rare():
    rare = item([True] + [False] * 9999)
    assert pass_at(rare, 5000) == pytest.approx(0.5)
    assert pass_at(rare, 1) == pytest.approx(1e-4)


def drawn_winners(predictions, correct):
    """Return the verdict of every winner that the lot may choose, by the rule as it is written."""
    voters = [p for p in predictions if p] or list(predictions)
    most = max(voters.count(p) for p in voters)
    tied = sorted({p for p in voters if voters.count(p) == most})
    verdict = dict(zip(predictions, correct, strict=True))
    return [verdict[p] for p in tied]


@pytest.mark.parametrize("samples", range(1, 6))
def test_majority_of_every_possible_vote(samples):
    for predictions in itertools.product(["", "a", "b", "c"], repeat=samples):
        for right in ("", "a", "b"):
            correct = [p == right for p in predictions]
            expected = np.mean(drawn_winners(predictions, correct))
            assert majority(item(correct, predictions), samples) == expected


def test_majority_looks_at_the_first_k_only():
    votes = item([1, 0, 0, 0], ["a", "b", "b", "b"])
    assert [majority(votes, k) for k in (1, 2, 3, 4)] == [1, 0.5, 0, 0]


def test_majority_takes_the_share_where_the_grader_does_not_agree_with_itself():
    assert majority(item([1, 0, 0, 1], ["a", "a", "a", "b"]), 4) == pytest.approx(1 / 3)


def test_every_metric_by_hand():
    results = [
        item([1, 0, 1, 0], ["4", "5", "4", ""], answer="4"),
        item([0, 0, 0, 0], ["(b)", "B", "A", "A"], answer="B"),
    ]
    names = ["accuracy", "mean@2", "mean@k", "pass@2", "maj@k", "exact_match", "multiple_choice"]
    found = {name: estimate.value for name, estimate in estimates(names, results, 0).items()}
    assert found == {
        "accuracy": 0.5,
        "mean@2": 0.25,
        "mean@4": 0.25,
        "pass@2": pytest.approx((1 - 1 / 6) / 2),
        "maj@4": 0.5,
        "exact_match": 0.5,
        "multiple_choice": 0.5,
    }


def test_exact_match_compares_with_the_reference_as_the_benchmark_writes_it():
    problem = Problem(id="p", prompt="?", answer="025")
    result = ItemResult(
        problem=problem, reference="25", predictions=("25",), correct=(False,), texts=("25",)
    )
    assert estimates(["exact_match"], [result], 0)["exact_match"].value == 1


def test_accuracy_is_that_of_the_first_response():
    results = [item([1, 0, 0]), item([0, 1, 1])]
    found = estimates(["accuracy", "mean@k", "pass@1"], results, 0)
    assert found["accuracy"].value == 0.5
    assert found["mean@3"].value == 0.5 == pytest.approx(found["pass@1"].value)
    assert estimates(["accuracy"], [item([0, 1, 1])], 0)["accuracy"].value == 0


@pytest.mark.parametrize(("items", "seed"), [(30, 0), (30, 1), (400, 2)])
def test_intervals_are_those_of_scipy(items, seed):
    random = np.random.default_rng(seed)
    scores = np.stack([random.random(items) < 0.3, random.random(items) ** 3]).astype(float)
    for row, ours in zip(scores, estimate_means(scores, seed), strict=True):
        theirs = stats.bootstrap(
            (row,), np.mean, n_resamples=50_000, method="percentile", rng=random
        ).confidence_interval
        # What 2000 resamples leave open: three standard errors of a 2.5 % quantile.
        off = 3 * 2.67 * row.std() / np.sqrt(items * RESAMPLES)
        off += 1 / items if set(row) <= {0, 1} else 0  # means come in steps
        assert ours.value == pytest.approx(row.mean())
        assert ours.low == pytest.approx(theirs.low, abs=off)
        assert ours.high == pytest.approx(theirs.high, abs=off)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 2**32))
def test_an_interval_holds_its_value(row, seed):
    (found,) = estimate_means(np.array([row]), seed)
    assert found.low <= found.value <= found.high
    (again,) = estimate_means(np.array([row]), seed)
    assert again == found


def test_all_metrics_see_the_same_resamples_however_many_there_are(monkeypatch):
    scores = np.random.default_rng(0).random((2, 50))
    both = estimate_means(np.stack([scores[0], scores[0]]), 7)
    assert both[0] == both[1]
    alone = estimate_means(scores[:1], 7)[0]
    assert alone.low == pytest.approx(both[0].low, rel=1e-12)
    monkeypatch.setattr("ralo_server.evaluation.bootstrap._AT_ONCE", 50 * 33)
    assert estimate_means(scores, 7)[0].low == pytest.approx(alone.low, rel=1e-12)
    assert estimate_means(scores, 8)[0].low != alone.low


def test_a_function_of_the_users_own_is_a_metric(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own_metric.py").write_text(
        "def length(item):\n    return sum(map(len, item.texts)) / len(item.texts)\n"
        "def nothing(item):\n    return None\n"
        "def nan(item):\n    return float('nan')\n"
    )
    results = [item([1, 0], ["abc", "a"]), item([0, 0], ["", ""])]
    found = estimates(["own_metric:length"], results, 0)["own_metric:length"]
    assert (found.value, found.low, found.high) == (1.0, 0.0, 2.0)
    for name in ("nothing", "nan"):
        with pytest.raises(RaloError, match=f"own_metric:{name} must return a finite .* item 'p'"):
            estimates([f"own_metric:{name}"], results, 0)
    with pytest.raises(RaloError, match="metrics = 'own_metric:no_such' cannot be imported"):
        load_scores(["own_metric:no_such"], 1)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("acuracy", "did you mean 'accuracy'"),
        ("pas@4", "did you mean 'pass@4'"),
        ("Maj@K", "did you mean 'maj@k'"),
        ("pass@0", "did you mean 'pass@k'"),
        ("pass", "did you mean 'pass@k'"),
        ("mean@-1", "there is no metric 'mean@-1'"),
        ("", "there is no metric ''"),
        ("module:", "there is no metric 'module:'"),
    ],
)
def test_a_wrong_name_is_refused_when_the_config_is_read(name, complaint):
    with pytest.raises(ConfigError, match=f"benchmarks.x.metrics: .*{complaint}"):
        structure({"metrics": ["accuracy", name]}, BenchmarkSettings, "benchmarks.x")


def test_more_than_there_are_samples_is_refused_when_the_config_is_read():
    with pytest.raises(ConfigError, match="benchmarks.x: metrics: pass@8 needs 8 samples .* is 4"):
        structure({**FOUR, "metrics": ["pass@8"]}, BenchmarkSettings, "benchmarks.x")
    with pytest.raises(ConfigError, match=r"benchmarks.x.metrics: name at least one metric"):
        structure({"metrics": []}, BenchmarkSettings, "benchmarks.x")
    fine = structure({**FOUR, "metrics": ["pass@4", "maj@k"]}, BenchmarkSettings, "x")
    assert fine.metrics == ["pass@4", "maj@k"]


def test_the_same_response_several_times_is_refused_when_the_config_is_read():
    with pytest.raises(ConfigError, match="4 responses at temperature 0 would all be the same"):
        structure({"samples": 4}, BenchmarkSettings, "benchmarks.x")


def test_the_letter_k_stands_for_all_samples():
    assert parse_metric("pass@k").of(8).name == "pass@8"
    assert parse_metric("pass@2").of(8).name == "pass@2"
    assert parse_metric("accuracy").of(8).name == "accuracy"
    assert parse_metric("a.b:c").of(8).name == "a.b:c"


def test_results_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="same number of responses to every item, got 1, 2"):
        estimates(["accuracy"], [item([1]), item([1, 0])], 0)
    with pytest.raises(ValueError, match="got no items"):
        estimates(["accuracy"], [], 0)
    with pytest.raises(ValueError, match="mean@3 needs 3 samples of each item, but samples is 2"):
        estimates(["mean@3"], [item([1, 0])], 0)
    with pytest.raises(ValueError, match="item 'p' has 1 predictions, 2 verdicts and 1 texts"):
        item([1, 0], ["a"])
