"""The dashboard's page and files: what is sent, compressed or not, and nothing besides."""

import gzip
import re

import falcon.testing
import pytest
import requests
from patience import PATIENCE
from web_process import WebProcess

from ralo_server.web.assets import FOLDER, Assets
from ralo_server.web.resources.dashboard import Page, StaticFile

SCRIPT = "const reward = 1; // " + "x" * 2000


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "dashboard"
    (inside / "vendor").mkdir(parents=True)
    (inside / "index.html").write_text("<!doctype html><p>page</p>")
    (inside / "vendor" / "chart.js").write_text(SCRIPT)
    (inside / "icon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    return inside


@pytest.fixture
def client(folder):
    app, assets = falcon.App(), Assets(folder)
    app.add_route("/", Page(assets))
    app.add_route("/static/{path:path}", StaticFile(assets))
    return falcon.testing.TestClient(app)


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [(None, False), ("gzip", True), ("deflate, gzip;q=0.5", True), ("*", True),
     ("gzip;q=0", False), ("gzip; q=0.0, *", False), ("br", False)],
)  # fmt: skip
def test_a_file_is_compressed_for_those_who_take_it(client, accepted, compressed):
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    answer = client.simulate_get("/static/vendor/chart.js", headers=headers)
    assert (answer.headers.get("content-encoding") == "gzip") == compressed
    body = gzip.decompress(answer.content) if compressed else answer.content
    assert body.decode() == SCRIPT
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (len(answer.content) < len(SCRIPT) / 5) == compressed


def test_who_has_a_file_is_told_so_until_it_changes(client, folder):
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        first = client.simulate_get("/static/vendor/chart.js", headers=headers)
        headers = {**headers, "If-None-Match": first.headers["etag"]}
        same = client.simulate_get("/static/vendor/chart.js", headers=headers)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == first.headers["etag"]
    plain = client.simulate_get("/static/vendor/chart.js").headers["etag"]
    assert plain != first.headers["etag"], "two representations, two tags"
    (folder / "vendor" / "chart.js").write_text("const reward = 2;")
    changed = client.simulate_get("/static/vendor/chart.js", headers={"If-None-Match": plain})
    assert (changed.status_code, changed.text) == (200, "const reward = 2;")


def test_a_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(client):
    headers = client.simulate_get("/").headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy, "so default-src holds: no inline scripts, no eval"
    for closed in ("object-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[closed] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-cache"


WAYS_OUT = [
    "../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "vendor/../../secret.txt",
    "..\\secret.txt", "/secret.txt", "//secret.txt", "vendor", "", ".", "vendor/", "index.html/",
    "index.html%00", "vendor%2fchart.js%00.svg",
]  # fmt: skip


@pytest.mark.parametrize("path", WAYS_OUT)
def test_nothing_outside_the_folder_can_be_named(client, path):
    answer = client.simulate_get(f"/static/{path}")
    assert answer.status_code == 404
    assert "secret" not in answer.text or "secret.txt" in path


def test_the_package_has_a_page_whose_files_are_there(make_run):
    """Every file that the page names is served by the real process, with the type it needs."""
    web = WebProcess(make_run())
    page = requests.get(f"{web.url}/", timeout=PATIENCE)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.text == (FOLDER / "index.html").read_text(encoding="utf-8")
    for path in re.findall(r'(?:src|href)="/?(static/[^"#?]+)', page.text):
        assert requests.get(f"{web.url}/{path}", timeout=PATIENCE).status_code == 200, path
    with web.connect(b"GET /static/../../web/app.py HTTP/1.1\r\nHost: x\r\n\r\n") as raw:
        assert b" 404 " in raw.recv(4096).split(b"\r\n")[0]
    web.close()
