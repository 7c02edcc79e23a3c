"""docs/openapi.yaml and the server's routes are the same, and answers match their schemas."""

import json
import re
from pathlib import Path

import attrs
import falcon.inspect
import falcon.testing
import jsonschema
import numpy as np
import pytest
import torch
import yaml
from blake3 import blake3
from safetensors.torch import save_file

from ralo_core import PROMPT, TreeBuilder, WeightDelta, wire
from ralo_core.config import resolve, set_layer
from ralo_core.data import EngineReport, VersionDelay, WeightsReport
from ralo_core.identifiers import is_identifier
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.learner.loop import Learner
from ralo_server.preparation import prepare
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store.values import put_value
from ralo_server.web.access import ANYBODY
from ralo_server.web.app import make_app, routes
from ralo_server.web.live.waiting import Waiting
from ralo_server.web.services import Services

SPEC = yaml.safe_load(
    (Path(__file__).parent.parent / "docs" / "openapi.yaml").read_text(encoding="utf-8")
)
METHODS = {"get", "post"}


def documented():
    return {
        (path, method)
        for path, item in SPEC["paths"].items()
        for method in item
        if method in METHODS
    }


def template(path):
    """Return a route without falcon's converters, as the document has it."""
    return re.sub(r":\w+}", "}", path)


def references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(reference):
    node = SPEC
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


@pytest.mark.parametrize("reference", sorted(set(references(SPEC))))
def test_every_reference_points_at_something(reference):
    assert resolved(reference)


@pytest.fixture
def services(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    save_file({"w": torch.ones(3)}, model / "model.safetensors")
    (model / "config.json").write_text("{}")
    (model / "tokenizer.json").write_text("{}")
    settings = [f"run.model={model}", "trainer.batch_trees=1", "evaluation.problems=2"]
    config = resolve([set_layer(settings)], Registry(PluginHost().load()))
    directory = RunDirectory(tmp_path / "run")
    prepare(directory, config, "test")
    services = Services(directory, Waiting(places=8))
    Learner(services.store, PluginHost()).open()
    return services


def test_the_routes_are_the_documented_ones(services):
    routes = falcon.inspect.inspect_app(make_app(services)).routes
    served = {
        (template(route.path), method.method.lower())
        for route in routes
        for method in route.methods
        if not method.internal and method.method.lower() in METHODS
    }
    assert served == documented()


def test_who_may_call_what_is_documented(services):
    for path, (_, roles) in routes(services).items():
        item = SPEC["paths"][template(path)]
        for method in METHODS & item.keys():
            if roles == ANYBODY:
                assert item[method]["security"] == []
            else:
                assert set(item["x-roles"]) == roles
                assert {"401", "403"} <= item[method]["responses"].keys()


def test_refusals_match_their_schemas(services):
    app = falcon.testing.TestClient(make_app(services, {"sampler": "s3"}))
    for token, status in ((None, 401), ("Bearer s3", 403)):
        headers = {} if token is None else {"Authorization": token}
        check("/stop", "post", answer := app.simulate_post("/stop", headers=headers))
        assert answer.status_code == status


def test_identifiers_are_those_of_the_code():
    pattern = SPEC["components"]["schemas"]["Identifier"]["pattern"]
    for name in ("w", "sampler-host.lab.org-123", "_x", "a" * 128, ".x", "", "a/b", "a" * 129):
        assert bool(re.search(pattern, name)) == is_identifier(name)


def test_answers_match_their_schemas(services):
    app = falcon.testing.TestClient(make_app(services), headers={"X-Ralo-Worker": "w"})
    seen = set()

    def call(method, path, expected=200, **arguments):
        answer = app.simulate_request(method, path, **arguments)
        assert answer.status_code == expected, answer.text
        route = re.sub(r"/[0-9a-f]{64}$", "/{sha256}", path)
        route = re.sub(r"^/static/.*", "/static/{path}", route)
        route = re.sub(r"^/rollouts/\d+$", "/rollouts/{number}", route)
        seen.add((route, method.lower()))
        check(route, method.lower(), answer)
        return answer

    plugins = [
        {"name": info.name, "distribution": info.distribution, "version": info.version}
        for info in services.host.active()
    ]
    beat = {"worker_id": "w", "version": 0, "working_seconds": 1.0, "waiting_seconds": 0.5,
            "tokens": 7}  # fmt: skip
    for role, who in (("worker", "sampler"), ("trainer", "trainer")):
        body = {"worker_id": "w", "role": who, "plugins": plugins, "host": "h", "pid": 1}
        call("POST", f"/{role}/register", json=body)
        call("POST", f"/{role}/heartbeat", json=beat)
    told = {**beat, **reports()}
    body = {"$ref": "#/components/schemas/Heartbeat", "components": SPEC["components"]}
    for facts in ({**beat, "engine": None, "weights": attrs.asdict(WeightsReport())}, told):
        jsonschema.validate(facts, body)
        call("POST", "/worker/heartbeat", json=facts)
    call("POST", "/worker/heartbeat", 404, json={**beat, "worker_id": "x"})
    call("POST", "/worker/heartbeat", 422, json={"worker_id": "w"})
    spent = {"session": "s", "worker_id": "w", "age_seconds": 3.0, "devices": 2, "roles": {
        role: {"working_seconds": 1.0, "waiting_seconds": 0.5, "tokens": 7}
        for role in ("sampler", "evaluator")}}  # fmt: skip
    body = {"$ref": "#/components/schemas/ComputeReport", "components": SPEC["components"]}
    jsonschema.validate(spent, body)
    call("POST", "/compute/report", json=spent)
    call("POST", "/compute/report", 422, json={**spent, "roles": {"learner": {}}})
    call("POST", "/compute/report", 400, body=b"{")
    call("GET", "/compute/stats")
    call("POST", "/worker/leave")
    call("POST", "/worker/leave", 422, headers={"X-Ralo-Worker": ""})
    (leased,) = call("GET", "/problem/get").json["problems"]
    call("POST", "/lease/renew", json={"lease_ids": [leased["lease_id"], "x"]})
    body = wire.pack_tree(tree(leased))
    call("POST", "/upload", body=body, headers={"Idempotency-Key": leased["lease_id"]})
    call("POST", "/upload", 422, body=b"x", headers={"Idempotency-Key": leased["lease_id"]})
    batch = wire.unpack_batch(call("GET", "/get").content)
    call("GET", "/get", 204)
    gradient = {"upload_id": "u", "batch_id": batch.id, "worker_id": "w", "base_version": 0,
                "weight": 1.0, "codec": "none", "size": 4, "chunk_bytes": 4,
                "chunk_digests": [blake3(b"abcd").hexdigest()]}  # fmt: skip
    reference = "#/components/schemas/GradientUpload"
    declaration = {"$ref": reference, "components": SPEC["components"]}
    jsonschema.validate(gradient, declaration)
    call("POST", "/gradient/declare", json=gradient)
    call("POST", "/gradient/declare", 422, json={**gradient, "upload_id": "/"})
    call("POST", "/gradient/declare", 409, json={**gradient, "upload_id": "v", "batch_id": "x"})
    chunk = {"upload_id": "u", "index": 0}
    call("POST", "/gradient/upload_chunk", 400, params=chunk, body=b"abcx")
    call("POST", "/gradient/upload_finalize", 409, json={"upload_id": "u"})
    call("POST", "/gradient/upload_chunk", params=chunk, body=b"abcd")
    call("POST", "/gradient/upload_chunk", 404, params={**chunk, "upload_id": "v"}, body=b"abcd")
    call("POST", "/gradient/upload_finalize", 404, json={"upload_id": "v"})
    call("POST", "/gradient/upload_finalize", 422, json={"upload_id": "u"})
    body = wire.pack({"codec": "none"}, {"w": np.ones(3, np.float32)})
    gradient = {**gradient, "upload_id": "w", "size": len(body), "chunk_bytes": len(body),
                "chunk_digests": [blake3(body).hexdigest()]}  # fmt: skip
    call("POST", "/gradient/declare", json=gradient)
    call("POST", "/gradient/upload_chunk", params={"upload_id": "w", "index": 0}, body=body)
    call("POST", "/gradient/upload_finalize", json={"upload_id": "w"})
    call("POST", "/lease/release", json={"lease_ids": [batch.id], "outcome": "empty"})
    call("GET", "/weights/version")
    call("GET", "/weights/version", 204, params={"after": 0})
    part = call("GET", "/weights/manifest", params={"version": 0}).json["files"][0]["sha256"]
    call("GET", f"/weights/parts/{part}")
    call("GET", f"/weights/parts/{part}", 206, headers={"Range": "bytes=0-0"})
    call("GET", f"/weights/parts/{'0' * 64}", 404)
    call("GET", "/weights/manifest", 404, params={"version": 5})
    call("GET", "/weights/download", params={"version": 0, "file": "config.json"})
    call("GET", "/weights/delta", 404, params={"from": 0, "to": 1})
    publish_a_delta(services.store)
    assert call("GET", "/weights/delta", params={"from": 0, "to": 1}).json["links"]
    job = call("POST", "/eval/job/claim", json={"worker_id": "w"}).json
    responses = {"texts": ["5"], "correct": [True], "tokens": [3], "finish_reasons": ["eos"]}
    report = {"job_id": job["job_id"], "lease_id": job["lease_id"], "responses": [responses] * 2}
    jsonschema.validate(report, schemas("EvalReport"))
    call("POST", "/eval/job/report", json=report)
    assert call("GET", "/eval/rows", params={"benchmark": "held_out", "version": 0}).json["rows"]
    call("GET", "/eval/rows", 404, params={"benchmark": "held_out", "version": 9})
    wish = {"benchmarks": ["held_out"], "version": 1}
    jsonschema.validate(wish, schemas("EvalRequest"))
    call("POST", "/eval/request", json=wish)
    call("POST", "/eval/request", 422, json={**wish, "benchmarks": ["none"]})
    read = ("/eval/results", "/eval/fit", "/compute/stats", "/stats", "/health", "/config")
    for path in (*read, "/metrics"):
        call("GET", path)
    look(call, services.store)
    call("POST", "/stop")
    assert seen == documented()


def look(call, store):
    """Ask for everything that the dashboard shows."""
    page = call("GET", "/")
    call("GET", "/", 304, headers={"If-None-Match": page.headers["etag"]})
    call("GET", "/static/index.html")
    call("GET", "/static/no/such.js", 404)
    with store.database.write() as connection:
        connection.execute("""INSERT INTO steps (step, metrics) VALUES (1, '{"reward": 0.5}')""")
    call("GET", "/series/names")
    assert call("GET", "/series", params={"names": "reward,x"}).json["series"]["x"] == [None]
    call("GET", "/series", 400)
    call("GET", "/run/config")
    (run,) = call("GET", "/runs").json["runs"]
    call("GET", "/runs/series", params={"run": run["name"], "names": "reward"})
    call("GET", "/runs/series", 400, params={"run": run["name"]})
    call("GET", "/runs/series", 404, params={"run": "..", "names": "reward"})
    (rollout,) = call("GET", "/rollouts").json["rollouts"]
    call("GET", "/rollouts", 400, params={"limit": 0})
    call("GET", f"/rollouts/{rollout['number']}")
    call("GET", "/rollouts/99", 404)
    with store.database.write() as connection:
        put_value(connection, "state", "finished")  # the stream ends
    assert call("GET", "/events").text.endswith("event: end\ndata: {}\n\n")
    with store.database.write() as connection:
        put_value(connection, "state", "running")


def schemas(name):
    return {"$ref": f"#/components/schemas/{name}", "components": SPEC["components"]}


def publish_a_delta(store):
    first = store.versions.get(0)
    delta = WeightDelta(base=0, base_sha256=first.sha256, file=attrs.evolve(first.files[0], size=1))
    with store.database.write() as connection:
        store.versions.add(connection, attrs.evolve(first, number=1, deltas=(delta,)), 1)


def reports():
    """What a sampler says with a heartbeat, every field of it."""
    engine = EngineReport(
        capacity=4,
        running=3,
        waiting=1,
        tokens_per_second=7.5,
        utilisation=0.7,
        cache_hits=0.5,
        decoded_tokens=9,
        prompt_tokens=8,
        cached_tokens=4,
    )
    last = VersionDelay(version=1, notice=0.1, staging=0.2, activation=0.3, first_token=0.4)
    weights = WeightsReport(
        bytes=1,
        staging_seconds=0.2,
        activations=1,
        pause_seconds=0.1,
        last_pause_seconds=0.1,
        last=last,
    )
    return {"engine": attrs.asdict(engine), "weights": attrs.asdict(weights)}  # fmt: skip


def tree(leased):
    builder = TreeBuilder(leased["problem"]["id"], [1], lease_id=leased["lease_id"])
    builder.add_leaf(builder.add_segment(PROMPT, [2], [-1.0], 0), "eos")
    return builder.build().with_rewards({}, np.ones(1, np.float32))


def check(path, method, answer):
    """The status is documented, and a JSON body has the documented shape."""
    responses = SPEC["paths"][path][method]["responses"]
    response = responses[str(answer.status_code)]
    response = resolved(response["$ref"]) if "$ref" in response else response
    for media, content in response.get("content", {}).items():
        assert answer.headers["content-type"] == media
        if media.endswith("json"):
            schema = {**content["schema"], "components": SPEC["components"]}
            jsonschema.validate(json.loads(answer.content), schema)
