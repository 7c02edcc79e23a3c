"""The dashboard's modules that compute: formats, smoothing, event streams, trees, rates."""

import http.server
import json
import threading
from functools import partial
from pathlib import Path

import pytest

from ralo_server.web.assets import FOLDER


@pytest.fixture(scope="module")
def call(browser, tmp_path_factory):
    """Return a function that calls one of a module's exports with JSON arguments."""
    root = tmp_path_factory.mktemp("site")
    (root / "static").symlink_to(FOLDER)
    (root / "index.html").write_text("<!doctype html><title>modules</title>")
    handler = partial(Quiet, directory=root)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    yield lambda code, *arguments: page.evaluate(BODY.format(code=code), list(arguments))
    server.shutdown()


BODY = "async (given) => {{ {code} }}"


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
    }

    def log_message(self, *_):
        pass


def exports(call, module, name, arguments):
    """Return what an exported function says to each of `arguments`."""
    code = f"const {{{name}}} = await import('./static/js/{module}.js'); return given.map({name});"
    return call(code.replace(f"map({name})", f"map((one) => {name}(one))"), *arguments)


def test_numbers_are_said_as_people_read_them(call):
    said = {
        0: "0", 0.5: "0.5", -0.12345: "-0.123", 1.5e-5: "1.5e-5", 999.4: "999", 1234.5: "1,235",
        2.5e6: "2.5 M", -3e9: "-3 G", None: "–",
    }  # fmt: skip
    assert exports(call, "format", "number", said) == list(said.values())


def test_durations_have_two_units(call):
    said = {
        0: "0 s", 0.85: "850 ms", 4.24: "4.2 s", 59.99: "1 min", 185: "3 min 5 s",
        8040: "2 h 14 min", 273_600: "3 d 4 h", None: "–",
    }  # fmt: skip
    assert exports(call, "format", "duration", said) == list(said.values())


def test_ticks_have_as_many_digits_as_tell_them_apart(call):
    axes = {
        (24.5, 24.75, 25): ["24.50", "24.75", "25.00"],
        (0, 0.002, 0.004): ["0.000", "0.002", "0.004"],
        (0, 1, 2): ["0", "1", "2"],
        (0, 2500, 5000): ["0", "2,500", "5,000"],
    }
    assert exports(call, "format", "ticks", map(list, axes)) == list(axes.values())


@pytest.mark.parametrize("weight", [0, 0.6, 0.99])
def test_smoothing_is_the_weighted_mean_of_what_was(call, weight):
    values = [1.0, None, 3.0, -2.0, 5.0, None, 0.0]
    code = (
        "const {smooth} = await import('./static/js/smoothing.js');"
        "return smooth(given[0], given[1]);"
    )
    expected = []
    for index, value in enumerate(values):
        seen = [other for other in values[: index + 1] if other is not None]
        weights = [weight ** (len(seen) - 1 - at) for at in range(len(seen))]
        mean = sum(w * s for w, s in zip(weights, seen, strict=True)) / sum(weights)
        expected.append(None if value is None else pytest.approx(mean))
    assert call(code, values, weight) == expected


STREAM = (
    'event: stats\ndata: {"run": "größer"}\n\n: still here\n\nid: 3\nevent: step\n'
    'data: {"step":\ndata: 3}\n\nevent: end\r\ndata: {}\r\n\r\n'
)
READ = """
const {readEvents} = await import('./static/js/event_stream.js');
const bytes = new TextEncoder().encode(given[0]);
const read = [];
for (const size of given[1]) {
  const body = new ReadableStream({start(controller) {
    for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
    controller.close();
  }});
  const events = [];
  for await (const event of readEvents(body, 5)) events.push(event);
  read.push(events);
}
return read;
"""


def test_events_are_read_wherever_the_network_cuts_them(call):
    sizes = [*range(1, 40), 1000]
    for events in call(READ, STREAM, sizes):
        assert [event["event"] for event in events] == ["stats", "comment", "step", "end"]
        texts = [event["data"] for event in events]
        assert json.loads(texts[0]) == {"run": "größer"}
        assert json.loads(texts[2]) == {"step": 3}


def test_a_silent_stream_is_given_up(call):
    code = """
    const {readEvents} = await import('./static/js/event_stream.js');
    const body = new ReadableStream({start(controller) { controller.enqueue(new Uint8Array()); }});
    try { for await (const event of readEvents(body, 0.05)) return event; }
    catch (error) { return error.message; }
    """
    assert call(code) == "nothing came for 0.05 s"


TREE = {
    "segments": [{"parent": parent, "tokens": tokens} for parent, tokens in
                 [(-1, 4), (0, 3), (0, 5), (-1, 2), (3, 6)]],
    "leaves": [{"segment": index, "reward": 1, "finish_reason": "eos"} for index in (1, 2, 4)],
}  # fmt: skip
LAYOUT = """
const {treeOf, neighbour, pathTo} = await import('./static/js/tree_model.js');
const root = treeOf(given[0]);
const nodes = root.descendants().filter((node) => node.parent);
const by = (index) => nodes.find((node) => node.data.index === index);
const step = (index, key) => neighbour(by(index), key)?.data.index;
return {
  places: Object.fromEntries(nodes.map((n) => [n.data.index, [n.from, n.to, n.row, n.depth]])),
  path: pathTo(by(2)).map((node) => node.data.index),
  walk: [step(0, "ArrowRight"), step(1, "ArrowDown"), step(2, "ArrowDown"), step(4, "ArrowLeft"),
         step(0, "ArrowUp") ?? null, step(1, "Enter") ?? null],
};
"""


def test_a_tree_is_laid_out_by_tokens_and_leaves_and_walked_by_arrows(call):
    answer = call(LAYOUT, TREE)
    assert answer["places"] == {
        "0": [0, 4, 0.5, 1], "1": [4, 7, 0, 2], "2": [4, 9, 1, 2], "3": [0, 2, 2, 1],
        "4": [2, 8, 2, 2],
    }  # fmt: skip
    assert answer["path"] == [0, 2]
    assert answer["walk"] == [1, 2, 4, 3, None, None]


def test_rates_are_per_second_of_the_run_also_where_steps_are_thinned(call):
    code = """
    const {Series} = await import('./static/js/series.js');
    const series = Series.of(given[0]);
    return {rate: series.rate("tokens"), at: [0, 4, 9, 12].map((step) => series.secondsAt(step))};
    """
    answer = call(code, {
        "steps": [2, 4, 8],
        "series": {"elapsed_seconds": [1, 2, 10], "tokens": [50, 100, None]},
    })  # fmt: skip
    assert answer == {"rate": [100, 200, None], "at": [0, 2, 10, 10]}


def test_no_module_makes_markup_of_text():
    scripts = [*FOLDER.glob("js/**/*.js"), FOLDER / "index.html"]
    assert len(scripts) > 30
    for script in scripts:
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in script.read_text().replace(
                "nothing in the dashboard uses innerHTML", ""
            ), script


def test_nothing_is_fetched_from_elsewhere():
    """Offline it must do: no address but those of licences, comments and SVG's namespace."""
    for path in FOLDER.rglob("*"):
        if path.suffix in (".js", ".css", ".html") and path.parent.name != "vendor":
            rest = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert "//" not in rest.replace("://", "//") or "http" not in rest, path


def test_every_vendored_file_has_its_licence():
    vendor = FOLDER / "vendor"
    table = (vendor / "README.md").read_text()
    for path in vendor.iterdir():
        assert path.name in table or path.name == "README.md", path
        assert (
            Path(vendor / f"{path.name.split('.')[0]}.LICENSE").is_file()
            or path.name == "README.md"
        )
