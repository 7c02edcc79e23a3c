"""What is shown of rollout trees: the list, a whole tree, and which of them are kept."""

import importlib
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ralo_core import PROMPT, TreeBuilder, wire
from ralo_core.config import RolloutsSettings
from ralo_server.rollback import roll_back
from ralo_server.store.kept_rollouts import kept_rollouts, lasting_stride
from ralo_server.web.responses.token_texts import TokenTexts

ONE_TREE = "trainer.batch_trees=1"
NASTY = "</script><!--\x00\ud800\u2028\udfff\U0001f600"


def step(run, learner, gradient, number):
    """Train on one tree."""
    run.fill(1)
    answer = run.send_gradient(run.batch().id, gradient, f"g{number}")
    assert answer.status_code == 200, answer.text
    learner.step(learner.due())
    learner.settle()


@pytest.fixture
def trained(server, random_gradient):
    """Return a function that gives a run in which each of some steps took one tree."""

    def make(steps, *settings):
        run = server(ONE_TREE, "learner.keep_last_versions=9", *settings)
        run.the_learner = run.learner()
        for number in range(1, steps + 1):
            step(run, run.the_learner, random_gradient(number), number)
        return run

    return make


def listed(run, **params):
    return run.http.simulate_get("/rollouts", params=params).json["rollouts"]


def kept_steps(run):
    """Return the steps whose trees are kept, once it is checked that row and file go together."""
    shown = listed(run, limit=500)
    for entry in shown:
        assert run.http.simulate_get(f"/rollouts/{entry['number']}").status_code == 200
    assert len(list(run.directory.samples.iterdir())) == len(shown)
    return sorted(entry["step"] for entry in shown)


def test_the_list_says_what_became_of_each_tree_newest_first(trained):
    run = trained(2, "server.queued_trees=20")
    run.fill(2)
    run.batch()
    (leased,) = run.lease()
    builder = TreeBuilder(leased["problem"]["id"], [1, 2], lease_id=leased["lease_id"])
    trunk = builder.add_segment(PROMPT, [5, 6, 7], [-0.5] * 3, 2)
    for token in (8, 9):
        builder.add_leaf(builder.add_segment(trunk, [token], [-1.0], 2), "eos")
    parts = {"correct": np.float32([1, 0]), "form": np.float32([0.5, 0.5])}
    tree = builder.build().with_rewards(parts, np.float32([1.5, 0.5]))
    assert run.post_tree(wire.pack_tree(tree), tree.lease_id).status_code == 200
    newest, *others = listed(run)
    assert newest["prompt"] == leased["problem"]["prompt"]
    assert {name: newest[name] for name in newest if name not in ("prompt", "time")} == {
        "number": 5, "problem_id": tree.problem_id, "step": None, "version": 2, "leaves": 2,
        "reward": 1.0, "solved": 0.5, "tokens": 5, "depth": 2, "state": "queued",
    }  # fmt: skip
    assert [(entry["number"], entry["state"], entry["step"]) for entry in others] == [
        (4, "queued", None), (3, "leased", None), (2, "trained", 2), (1, "trained", 1)
    ]  # fmt: skip
    assert others[0]["solved"] is None, "its rewards have no parts"
    assert [entry["time"] for entry in others] == sorted((e["time"] for e in others), reverse=True)
    assert [entry["number"] for entry in listed(run, limit=2, before=4)] == [3, 2]
    assert listed(run, step=1) == others[-1:]
    assert listed(run, problem=tree.problem_id) == [newest]
    assert listed(run, problem="none", step=1) == []


def test_a_list_costs_one_query_that_uses_indices(trained):
    run = trained(1)
    asked, rows = [], type(run.store.database).rows

    def counting(database, sql, *values):
        asked.append((sql, values))
        return rows(database, sql, *values)

    for params in ({}, {"problem": "p"}, {"step": 3}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(run.store.database), "rows", counting)
            listed(run, **params)
        ((sql, values),) = asked
        asked.clear()
        explained = run.store.database.rows(f"EXPLAIN QUERY PLAN {sql}", *values)
        plan = [row["detail"] for row in explained]
        assert all(line.startswith("SEARCH") for line in plan if " t" in line[:9]), plan
        assert not [line for line in plan if line.startswith("SCAN")], plan


def test_a_tree_has_its_texts_rewards_and_the_advantages_of_the_runs_estimator(server):
    run = server(ONE_TREE, "advantage.use=grpo")
    run.learner()
    (leased,) = run.lease()
    builder = TreeBuilder(leased["problem"]["id"], [1, 2], lease_id=leased["lease_id"])
    trunk = builder.add_segment(PROMPT, [5, 6], [-0.5, -0.25], 0)
    ends = [builder.add_segment(trunk, [7 + n], [-1.0], 0) for n in range(2)]
    unused = builder.add_segment(trunk, [], [], 0)
    alone = builder.add_segment(PROMPT, [9], [-2.0], 0)
    for segment in (*ends, alone):
        builder.add_leaf(segment, "eos")
    rewards = np.float32([1.0, 0.0, 0.0])
    tree = builder.build().with_rewards({"correct": rewards}, rewards)
    run.post_tree(wire.pack_tree(tree), tree.lease_id)
    shown = run.http.simulate_get("/rollouts/1").json
    assert shown["problem"]["prompt"] == leased["problem"]["prompt"]
    assert shown["problem"]["answer"] == leased["problem"]["answer"]
    assert [leaf["segment"] for leaf in shown["leaves"]] == [*ends, alone]
    assert [leaf["rewards"] for leaf in shown["leaves"]] == [{"correct": r} for r in (1.0, 0, 0)]
    assert [leaf["tokens"] for leaf in shown["leaves"]] == [3, 3, 1]
    first = shown["segments"][trunk]
    assert (first["parent"], first["tokens"], first["logprob"]) == (-1, 2, -0.375)
    assert first["logprobs"] == [-0.5, -0.25]
    assert first["pieces"] == ["[5]", "[6]"], "this model's tokenizer is none"
    assert shown["segments"][unused]["logprob"] is shown["segments"][unused]["advantage"] is None
    a, b, c = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)  # GRPO, by hand
    expected = {trunk: (a + b) / 2, ends[0]: a, ends[1]: b, alone: c}
    for segment, value in expected.items():
        assert shown["segments"][segment]["advantage"] == pytest.approx(value, abs=1e-3)


def test_an_estimator_with_a_value_per_segment_is_averaged_over_the_leaves_below(server):
    run = server(ONE_TREE, "advantage.use=treepo")

    class PerSegment:
        def estimate(self, trees):
            return [np.float32([[1, 10, 99], [3, 20, 99]])]

    run.services.advantages._built, run.services.advantages._estimator = True, PerSegment()
    builder = TreeBuilder("p", [1])
    trunk = builder.add_segment(PROMPT, [5], [-1.0], 0)
    for token in (6, 7):
        builder.add_leaf(builder.add_segment(trunk, [token], [-1.0], 0), "eos")
    assert run.services.advantages.of_segments(builder.build()) == [2.0, 10.0, 20.0]


def test_an_estimator_that_needs_torch_leaves_no_advantages_and_its_reason(
    server, monkeypatch, caplog
):
    run = server(ONE_TREE)
    run.learner()
    run.fill(2)

    def build(config, section, context):
        importlib.import_module("colorsys")  # as an estimator's module would

    sys.modules.pop("colorsys", None)
    monkeypatch.setattr(type(run.services.config), "build", build)
    monkeypatch.setattr("ralo_server.web.responses.advantages._NOT_HERE", "colorsys")
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            shown = run.http.simulate_get(f"/rollouts/{number}").json
            assert {segment["advantage"] for segment in shown["segments"]} == {None}
    (said,) = [r.message for r in caplog.records if "advantages" in r.message]
    assert said.startswith("no advantages are shown: grpo cannot be built here: import of colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv, "for others it is there again"


def test_whatever_a_model_or_worker_wrote_comes_out_as_valid_json(server):
    run = server(ONE_TREE)
    run.learner()
    (leased,) = run.lease()
    builder = TreeBuilder(leased["problem"]["id"], [1], lease_id=leased["lease_id"])
    builder.add_leaf(builder.add_segment(PROMPT, [3], [-1.0], 0), "reason")
    tree = builder.build().with_rewards({}, np.ones(1, np.float32))
    header, tensors = wire.tree_to_parts(tree)
    header["finish_reasons"] = ["SEVENCH"]
    # A lone surrogate cannot be packed, but somebody may send one: as an escape, in as many bytes.
    body = wire.pack(header, tensors).replace(b"SEVENCH", rb"\\ud800")
    run.services.texts.pieces = lambda ids, before=(): [NASTY for _ in ids]
    assert run.post_tree(body, tree.lease_id).status_code == 200
    answer = run.http.simulate_get("/rollouts/1")
    text = answer.content.decode("ascii")
    assert "<" not in text
    assert "\x00" not in text
    shown = json.loads(text)
    assert shown["segments"][0]["text"] == NASTY
    assert shown["segments"][0]["pieces"] == [NASTY]
    assert shown["leaves"][0]["finish_reason"] == "\ud800"
    with run.store.database.write() as connection:
        connection.execute("INSERT INTO steps (step, metrics) VALUES (1, ?)",
                           (json.dumps({f"stop/{NASTY}": 1.0}),))  # fmt: skip
    assert f"stop/{NASTY}" in json.loads(run.http.simulate_get("/series/names").text)["names"]
    assert f"stop/{NASTY}" in json.loads(run.http.simulate_get("/stats").text)["steps"][-1]


@pytest.fixture(scope="module")
def byte_tokenizer(tmp_path_factory):
    """A byte-level tokenizer with a token per byte: a character may take four."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return tokenizer, TokenTexts(path)


@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=30), data=st.data())
def test_the_pieces_of_a_text_are_the_text_however_it_is_cut_into_segments(
    byte_tokenizer, text, data
):
    tokenizer, texts = byte_tokenizer
    ids = tokenizer.encode(text).ids
    cut = data.draw(st.integers(0, len(ids)))
    parts = [texts.pieces(ids[:cut]), texts.pieces(ids[cut:], ids[:cut])]
    assert list(map(len, parts)) == [cut, len(ids) - cut]
    assert "".join(parts[0] + parts[1]) == text


def test_the_texts_of_a_real_run_without_torch(server, byte_tokenizer):
    """The web process opens the tokenizer of the run, and builds the estimator, without torch."""
    tokenizer, _ = byte_tokenizer
    run = server(ONE_TREE, "advantage.use=treepo")
    run.learner()
    tokenizer.save(str(run.directory.model / "tokenizer.json"))
    (leased,) = run.lease()
    builder = TreeBuilder(leased["problem"]["id"], tokenizer.encode("2 + 2 =").ids,
                          lease_id=leased["lease_id"])  # fmt: skip
    for answer in ("four", "vi\u00e8r"):
        ids = tokenizer.encode(answer).ids
        builder.add_leaf(builder.add_segment(PROMPT, ids, [-1.0] * len(ids), 0), "eos")
    tree = builder.build().with_rewards({}, np.float32([1, 0]))
    assert run.post_tree(wire.pack_tree(tree), tree.lease_id).status_code == 200
    code = (
        "import sys, json, pathlib, falcon.testing\n"
        "from ralo_server.rundir.directory import RunDirectory\n"
        "from ralo_server.web.app import make_app\n"
        "from ralo_server.web.services import Services\n"
        "from ralo_server.web.live.waiting import Waiting\n"
        f"d = RunDirectory(pathlib.Path({str(run.directory.root)!r}))\n"
        "c = falcon.testing.TestClient(make_app(Services(d, Waiting(places=1))))\n"
        "print(c.simulate_get('/rollouts/1').text)\n"
        "c.simulate_get('/series', params={'names': 'reward'})\n"
        "found = {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["prompt"] == "2 + 2 ="
    assert [segment["text"] for segment in shown["segments"]] == ["four", "vi\u00e8r"]
    right, wrong = (segment["advantage"] for segment in shown["segments"])
    assert wrong < 0 < right


def test_the_newest_trees_are_kept_and_some_of_every_nth_step_for_good(trained):
    run = trained(
        9, "rollouts.keep_last=2", "rollouts.keep_every=2", "rollouts.keep_per_step=1",
        "rollouts.keep_at_most=2",
    )  # fmt: skip
    assert kept_steps(run) == [4, 8, 9], "of 2, 4, 6, 8 are two too many: every fourth step then"
    assert run.http.simulate_get("/rollouts/1").status_code == 404
    assert run.http.simulate_get("/stats").json["trees"]["trained"] == 9


def test_other_settings_and_a_restart_need_nothing_but_the_next_step(trained, random_gradient):
    run = trained(6, "rollouts.keep_last=6", "rollouts.keep_every=0")
    assert kept_steps(run) == [1, 2, 3, 4, 5, 6]
    run.store.config.data["rollouts"].update(keep_last=1, keep_every=3)
    run.directory.config_file.write_text(
        json.dumps({**run.directory.settings(), "config": run.store.config.data})
    )
    run.services = type(run.services)(run.directory, run.services.waiting)
    run.store = run.services.store
    learner = run.learner()
    assert kept_steps(run) == [3, 6]
    step(run, learner, random_gradient(7), 7)
    assert kept_steps(run) == [3, 6, 7]


def test_a_rollback_keeps_what_was_seen_and_the_run_goes_on(trained, random_gradient):
    run = trained(4, "learner.checkpoint_every=1", "rollouts.keep_last=3")
    run.the_learner.close()
    roll_back(run.store, 2)
    before = listed(run)
    assert kept_steps(run) == [2, 3, 4]
    learner = run.learner()
    assert listed(run) == before
    step(run, learner, random_gradient(5), 5)
    assert kept_steps(run) == [3, 4, 5]


SETTINGS = st.builds(
    RolloutsSettings, keep_last=st.integers(0, 9), keep_every=st.integers(0, 4),
    keep_per_step=st.integers(1, 3), keep_at_most=st.integers(1, 12),
)  # fmt: skip


@settings(deadline=None)
@given(chosen=SETTINGS, sizes=st.lists(st.integers(1, 4), max_size=40))
def test_what_is_kept_is_bounded_and_what_went_is_never_missed_later(chosen, sizes):
    """Step by step: only what was kept is there for the next one to choose from."""
    here, number = [], 0
    for newest, size in enumerate(sizes, 1):
        here += [(number + index + 1, newest) for index in range(size)]
        number += size
        everything = [
            (sum(sizes[:s]) + index + 1, s + 1) for s in range(newest) for index in range(sizes[s])
        ]
        kept = kept_rollouts(here, newest, chosen)
        assert kept == kept_rollouts(everything, newest, chosen)
        assert len(kept) <= chosen.keep_last + chosen.keep_at_most
        assert {n for n, _ in everything[len(everything) - chosen.keep_last :]} <= kept
        stride = lasting_stride(newest, chosen)
        steps = {s for n, s in here if n in kept}
        assert not stride or set(range(stride, newest + 1, stride)) <= steps
        here = [(n, s) for n, s in here if n in kept]
