"""Who may call what, and what a client may call itself."""

import falcon.testing
import pytest

from ralo_core.access import ADMIN, ROLES, SAMPLER, TRAINER, VIEWER, read_tokens
from ralo_core.config import ServerSettings
from ralo_server.rundir.tokens import is_loopback, make_tokens, required
from ralo_server.web.access import ANYBODY
from ralo_server.web.app import make_app, routes

MAY = {
    SAMPLER: {"/problem/get", "/upload", "/eval/job/claim", "/eval/job/report"},
    TRAINER: {"/get", "/gradient/upload_chunk", "/gradient/upload_finalize"},
    VIEWER: {"/stats", "/eval/results", "/series/names", "/rollouts", "/rollouts/1"},
    ADMIN: {"/stop"},
}


@pytest.fixture
def guarded(server):
    """A run whose requests need a token: (TestClient, tokens)."""
    run = server("trainer.batch_trees=2")
    run.learner()
    tokens = make_tokens(run.directory)
    client = falcon.testing.TestClient(
        make_app(run.services, tokens), headers={"X-Ralo-Worker": "w1"}
    )
    return client, tokens


def call(client, path, token=None, scheme="Bearer"):
    """Ask with both methods and return the status that is not 405."""
    headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
    for method in ("GET", "POST"):
        answer = client.simulate_request(method, path, headers=headers)
        if answer.status_code != 405:
            return answer
    raise AssertionError(path)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_call_what_is_its_own_and_an_admin_everything(guarded, role):
    client, tokens = guarded
    for owner, paths in MAY.items():
        for path in paths:
            refused = call(client, path, tokens[role]).status_code == 403
            assert refused == (role not in (owner, ADMIN)), (role, path)


OPEN = {"/health", "/", "/static/{path:path}"}


def test_without_a_token_only_health_and_the_page_answer(guarded, server):
    client, _ = guarded
    table = routes(server().services)
    open_paths = {path for path, (_, roles) in table.items() if roles == ANYBODY}
    assert open_paths == OPEN
    for path in table:
        answer = call(
            client, path.replace("{path:path}", "index.html").replace("{number:int}", "1")
        )
        assert answer.status_code == (200 if path in OPEN else 401), path
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"].startswith('Bearer realm="ralo"')
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json["type"] == "urn:ralo:unauthorized"


@pytest.mark.parametrize("wrong", ["", "x", "täter", "sampler-", "\x00"])
def test_a_wrong_token_is_refused(guarded, wrong):
    client, tokens = guarded
    for token in (wrong, tokens[SAMPLER] + wrong + "x", tokens[SAMPLER][:-1]):
        answer = call(client, "/problem/get", token)
        assert answer.status_code == 401
    assert call(client, "/problem/get", tokens[SAMPLER], scheme="Basic").status_code == 401
    assert call(client, "/problem/get", tokens[SAMPLER], scheme="bearer").status_code == 200


def test_tokens_that_are_asked_for_and_not_there_let_nobody_in(server):
    client = falcon.testing.TestClient(make_app(server().services, {}))
    assert call(client, "/stats", "").status_code == 401


def test_a_refusal_names_the_role_and_who_may(guarded):
    client, tokens = guarded
    answer = call(client, "/upload", tokens[TRAINER])
    assert answer.json["type"] == "urn:ralo:forbidden"
    assert "token of a trainer" in answer.json["detail"]
    assert "admin, sampler" in answer.json["detail"]


def test_a_worker_cannot_join_in_another_role_than_its_tokens(guarded):
    client, tokens = guarded
    body = {"worker_id": "w", "role": "trainer", "plugins": []}
    headers = {"Authorization": f"Bearer {tokens[SAMPLER]}"}
    answer = client.simulate_post("/worker/register", json=body, headers=headers)
    assert answer.status_code == 403


def test_tokens_are_made_once_and_for_the_owner_only(make_run):
    directory = make_run()
    made = make_tokens(directory)
    assert sorted(made) == sorted(ROLES)
    assert len(set(made.values())) == len(ROLES)
    assert make_tokens(directory) == {}
    assert read_tokens(directory.root) == made
    assert directory.tokens_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.7", False), ("lab.org", False)],
)  # fmt: skip
def test_a_token_is_asked_for_where_others_can_connect(host, loopback):
    assert is_loopback(host) == loopback
    assert required(ServerSettings(host=host)) == (not loopback)
    assert required(ServerSettings(host=host, auth="on"))
    assert not required(ServerSettings(host=host, auth="off"))


NASTY = ["../../x", "a/b", "", ".", "..", ".hidden", "nul\x00", "x" * 10_000, "ü", "a b", "a\nb"]


@pytest.mark.parametrize("name", NASTY)
def test_what_is_no_identifier_is_refused_everywhere(server, name):
    run = server("trainer.batch_trees=2")
    run.learner()
    before = files(run)
    lease = {"lease_ids": ["ok", name]}
    gradient = {
        "upload_id": "u", "batch_id": "b", "worker_id": "w", "base_version": 0, "weight": 1.0,
        "codec": "none", "size": 1, "chunk_bytes": 1, "chunk_digests": [],
    }  # fmt: skip
    bodies = [
        ("/worker/register", {"worker_id": name, "role": "sampler", "plugins": []}),
        ("/worker/heartbeat", {"worker_id": name, "version": 0, "working_seconds": 0.0,
                               "waiting_seconds": 0.0, "tokens": 0}),
        ("/lease/renew", lease),
        ("/lease/release", {**lease, "outcome": "returned"}),
        ("/eval/job/claim", {"worker_id": name}),
        ("/eval/job/report", {"job_id": name, "lease_id": "x", "correct": [True]}),
        ("/eval/job/report", {"job_id": "x", "lease_id": name, "correct": [True]}),
        ("/gradient/upload_finalize", {"upload_id": name}),
        *(("/gradient/declare", {**gradient, key: name})
          for key in ("upload_id", "batch_id", "worker_id")),
    ]  # fmt: skip
    for path, body in bodies:
        answer = run.http.simulate_post(path, json=body)
        assert answer.status_code == 422, (path, answer.text)
        assert "identifier" in answer.json["detail"], (path, answer.text)
    for path, header in (("/problem/get", "X-Ralo-Worker"), ("/get", "Idempotency-Key")):
        answer = run.http.simulate_get(path, headers={header: name})
        assert answer.status_code in (400, 422), (path, answer.text)
    tree = run.http.simulate_post("/upload", body=b"", headers={"Idempotency-Key": name})
    assert tree.status_code in (400, 422)
    chunk = {"upload_id": name, "offset": 0, "total": 4}
    answer = run.http.simulate_post("/gradient/upload_chunk", params=chunk, body=b"abcd")
    assert answer.status_code in (400, 422)
    file = run.http.simulate_get("/weights/download", params={"version": 0, "file": name})
    assert file.status_code in (400, 404)
    assert files(run) == before


def files(run):
    return sorted(
        path for path in run.directory.root.parent.rglob("*") if "state.db" not in path.name
    )


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/weights/download", {"version": 10**30, "file": "x"}),
        ("/weights/manifest", {"version": "nan"}),
        ("/weights/version", {"wait": "nan"}),
        ("/problem/get", {"wait": "inf"}),
        ("/get", {"wait": "nan"}),
    ],
)
def test_numbers_that_are_none_are_refused(server, path, params):
    assert server().http.simulate_get(path, params=params).status_code == 400


def test_json_that_is_none_is_refused(server):
    run = server()
    beat = '{"worker_id": "w", "version": 0, "working_seconds": NaN, "waiting_seconds": 0, "tokens": 0}'  # noqa: E501
    assert run.http.simulate_post("/worker/heartbeat", body=beat).status_code == 400
    assert run.http.simulate_post("/lease/renew", body="[" * 100_000).status_code == 400
