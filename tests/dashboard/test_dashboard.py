"""The dashboard of a real TreePO run in a real browser: every view, at both widths, in both themes.

The fixtures are the run's life: `fresh` (nobody works yet), `working`, `still` (its workers have
gone, so numbers stand). Every prompt is markup, as is a trainer's phase: they must stay text.
"""

import itertools
import json
import re
import shutil
import sqlite3

import pytest
from dashboard.chromium import SIZES, THEMES, open_page
from ports import port_to_keep
from served_run import ServedRun

from ralo_core.access import SAMPLER, TRAINER, VIEWER, read_tokens
from ralo_core.client import Client
from ralo_core.client.address import FixedAddress
from ralo_core.messages.workers import WorkerReport

MARKUP = '<img src=x onerror="window.hacked=1">'
PROBLEMS, HELD_OUT = 40, 6
SETTINGS = (
    "server.auth=on", "sampler.threads=1", "trainer.threads=1", "trainer.batch_trees=4",
    "server.queued_trees=12", "problems.use=jsonl", "problems.jsonl.epochs=0",
    f"problems.jsonl.held_out_items={HELD_OUT}", "reward.pipeline=['function']",
    "reward.function.path=telling:odd", f"evaluation.problems={HELD_OUT}",
    "evaluation.every_steps=2", "sampling.treepo.segment_tokens=4",
    "benchmarks.pipeline=['arithmetic']", "benchmarks.arithmetic.limit=8",
    "benchmarks.arithmetic.samples=2", "benchmarks.arithmetic.temperature=1.0",
    "benchmarks.arithmetic.metrics=['mean@2', 'pass@k']", "benchmarks.arithmetic.max_tokens=8",
)  # fmt: skip
"""The model is untrained: its answers are right by chance, when their digits are odd in number."""

VIEWS = ("Learning", "System", "Rollouts", "Evaluations", "Run", "Compare")


@pytest.fixture(scope="module")
def fresh(browser, model, tmp_path_factory):
    """A served run that asks for tokens, before any worker; with `viewer`, the token to look."""
    root = tmp_path_factory.mktemp("dashboard")
    (root / "telling.py").write_text(
        "def odd(problem, answers):\n"
        "    return [float(sum(map(str.isdigit, a.text)) % 2) for a in answers]\n"
    )
    lines = [
        {"prompt": f"{MARKUP} {number}+{number}", "answer": str(2 * number)}
        for number in range(PROBLEMS)
    ]
    (root / "problems.jsonl").write_text("\n".join(map(json.dumps, lines)))
    own = (
        f"run.model={model}", f"problems.jsonl.path={root / 'problems.jsonl'}",
        f"server.port={port_to_keep()}",
    )  # fmt: skip
    run = ServedRun(root, *own, *SETTINGS, recipe="treepo")
    run.viewer = read_tokens(run.directory)[VIEWER]
    yield run
    run.close()


@pytest.fixture(scope="module")
def working(fresh):
    """The same run with a sampler and a trainer at work, two steps done."""
    report_markup(fresh)
    fresh.start("sample", "--server", str(fresh.directory))
    fresh.start("train", "--server", str(fresh.directory))
    fresh.wait_for(lambda: fresh.stats().step >= 2)
    return fresh


@pytest.fixture(scope="module")
def still(working):
    """The same run after its workers have said goodbye, with both benchmarks evaluated twice and
    an older run beside it."""
    run = working
    run.wait_for(
        lambda: all(len(results(run, name)) > 1 for name in ("arithmetic", "held_out")),
    )
    run.stop("train")
    run.stop("sample")
    run.wait_for(lambda: not run.stats().gradients.pending)
    earlier = run.root / "earlier"
    earlier.mkdir()
    shutil.copy(run.directory / "config.json", earlier)
    with (
        sqlite3.connect(run.directory / "state.db") as source,
        sqlite3.connect(earlier / "state.db") as copy,
    ):
        source.backup(copy)
    return run


@pytest.fixture
def page(browser):
    """Return a function that opens the dashboard; at the end nothing may have gone wrong."""
    opened = []

    def open_it(run, path="", **options):
        options.setdefault("token", run.viewer)
        manager = open_page(browser, f"{run.url}/{path}", **options)
        opened.append((manager, manager.__enter__()))
        return opened[-1][1]

    yield open_it
    faults = [fault for _, page in opened for fault in page.faults]
    for manager, _ in opened:
        manager.__exit__(None, None, None)
    assert not faults


def report_markup(run):
    """Be a trainer that spends its time in a phase of a strange name."""
    client = Client(FixedAddress(run.url, read_tokens(run.directory)[TRAINER]), "trainer-strange")
    client.register("trainer", run.client.config().plugins)
    spent = {"working_seconds": 5.0, "waiting_seconds": 5.0, "tokens": 1}
    client.heartbeat(WorkerReport(version=0, phases={MARKUP: 5.0}, **spent))


def get(run, path, **parameters):
    """Return the JSON that the dashboard is drawn from."""
    return run.client.transport.request("GET", f"/{path}", params=parameters).json()


def results(run, benchmark):
    return get(run, "eval/results", benchmark=benchmark)["evaluations"]


def tile(page, name):
    return page.locator(".tile", has=page.locator(f"dt:text-is('{name}')")).locator("b")


def go(page, view):
    page.get_by_role("navigation").get_by_text(view, exact=True).click()


def test_a_token_is_asked_for_and_a_wrong_one_refused(fresh, browser):
    with open_page(browser, fresh.url) as page:
        field = page.get_by_label("Token of a viewer")
        field.fill("viewer-wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("The server does not take it: token unknown").wait_for()
        field.fill(read_tokens(fresh.directory)[SAMPLER])
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("this is the token of a sampler").wait_for()
        field.fill(fresh.viewer)
        page.get_by_role("button", name="Log in").click()
        tile(page, "State").wait_for()
        assert tile(page, "State").inner_text() == "running"
        assert page.evaluate("document.cookie + Object.keys(localStorage)").count("viewer-") == 0
        page.reload()
        tile(page, "State").wait_for()
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Token of a viewer").wait_for()
        assert page.evaluate("sessionStorage.length") == 0
        assert not page.locator(".tile").count()


def test_before_the_first_step_every_view_says_what_is_missing(fresh, page):
    there = page(fresh)
    there.get_by_text("No data yet: the first step is still to come.").first.wait_for()
    for view, words in {
        "System": "No worker has registered yet",
        "Rollouts": "No rollout yet",
        "Evaluations": "No evaluation has been reported yet",
    }.items():
        go(there, view)
        there.get_by_text(words).first.wait_for()


def test_a_step_arrives_without_loading_again(working, page):
    there = page(working)
    there.evaluate("window.marked = true")
    seen = int(tile(there, "Step").inner_text())
    there.wait_for_function(
        "least => Number(document.querySelectorAll('.tile b')[1].textContent) > least", arg=seen + 1
    )
    step = int(tile(there, "Step").inner_text())
    there.wait_for_function(
        """least => Number(/to [^;]* at (\\d+)$/.exec(
            document.querySelector('.plot').ariaLabel)?.[1]) >= least""", arg=step,
    )  # fmt: skip
    assert there.evaluate("window.marked"), "the page was loaded again"
    assert there.locator("#connection").inner_text() == "live"


@pytest.mark.parametrize(("size", "theme"), list(itertools.product(SIZES, THEMES)))
def test_every_view_shows_the_run(still, page, size, theme):
    there = page(still, size=size, theme=theme)
    check = {
        "Learning": learning, "System": system, "Rollouts": rollouts, "Evaluations": evaluations,
        "Run": settings, "Compare": compare,
    }  # fmt: skip
    assert there.evaluate("document.documentElement.dataset.theme") == theme
    for view in VIEWS:
        go(there, view)
        check[view](still, there)
        fits(there, view)


def fits(page, view):
    """The page does not scroll sideways, the view is marked, and no text became an element."""
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, f"{view} is {width} pixels too wide"
    assert page.locator("nav [aria-current]").inner_text() == view
    assert view in page.title()
    assert not page.locator("main img").count()
    assert page.evaluate("window.hacked") is None


def learning(run, page):
    stats = run.stats()
    page.wait_for_function("() => document.querySelector('.plot canvas')")
    assert tile(page, "Step").inner_text() == str(stats.step)
    assert tile(page, "Version").inner_text() == str(stats.version)
    reward = stats.steps[-1]["reward"]
    page.wait_for_function("() => document.querySelectorAll('.tile b')[3].textContent !== '–'")
    assert float(tile(page, "Reward").inner_text()) == pytest.approx(reward, abs=6e-4)
    accuracy = results(run, "held_out")[-1]["metrics"]["accuracy"]["value"]
    assert float(tile(page, "Accuracy").inner_text().split()[0]) == pytest.approx(
        100 * accuracy, abs=0.06
    )
    labels = [plot.get_attribute("aria-label") for plot in page.locator(".plot").all()]
    assert labels[0].startswith("Reward: reward from ")
    assert labels[0].endswith(f" at {stats.step}")
    assert "held out from" in labels[1]
    assert "arithmetic mean@2 from" in labels[1]
    assert page.evaluate(PAINTED) >= 8


PAINTED = """[...document.querySelectorAll('.plot canvas')].filter((canvas) =>
    canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
        .data.some((value) => value)).length"""


def system(run, page):
    stats = run.stats()
    page.get_by_text(f"{MARKUP} 5 s").wait_for()
    names = page.locator("tbody th").all_inner_texts()
    assert {worker.id for worker in stats.workers} <= set(names)
    stations = page.locator(".stations li").all_inner_texts()
    assert str(stats.problems.issued) in stations[0]
    assert str(stats.trees.trained) in stations[1]
    assert str(stats.gradients.applied) in stations[3]
    assert stats.bottleneck.startswith("no sampler")
    page.locator(".verdict", has_text=stats.bottleneck).wait_for()
    roles = page.get_by_role("region", name="Compute by role")
    roles.get_by_text("trainer").wait_for()
    assert "sampler" in roles.inner_text()


def rollouts(run, page):
    page.locator("tbody tr").first.wait_for()
    newest = get(run, "rollouts", limit=1)["rollouts"][0]
    row = page.locator("tbody tr").first.inner_text()
    assert f"#{newest['number']}" in row
    assert MARKUP in row
    page.get_by_role("link", name=f"#{newest['number']}").click()
    page.locator("svg.tree").wait_for()
    whole = get(run, f"rollouts/{newest['number']}")
    segments = page.locator("[role=treeitem]")
    assert segments.count() == len(whole["segments"])
    assert page.locator(".tree .leaf").count() == len({leaf["segment"] for leaf in whole["leaves"]})
    assert MARKUP in page.locator(".pairs").inner_text()
    reads_a_segment(page, whole)
    fits(page, "Rollouts")
    page.get_by_role("button", name="List").click()
    assert page.locator(".tree-list [data-segment]").count() == len(whole["segments"])
    page.get_by_role("button", name="Tree", exact=True).click()


def reads_a_segment(page, whole):
    """With the keyboard from the chosen leaf to its parent and back; then a click on the last."""
    page.get_by_role("button", name="Show all").focus()
    page.keyboard.press("Tab")
    if page.evaluate("document.activeElement.getAttribute('role')") != "treeitem":
        page.keyboard.press("Tab")  # where the tree has to be scrolled, its frame comes first
    panel = page.locator(".segment-panel")
    chosen = int(panel.locator("h2").inner_text().split()[1]) - 1
    assert chosen in {leaf["segment"] for leaf in whole["leaves"]}
    page.keyboard.press("ArrowLeft")
    parent = whole["segments"][chosen]["parent"]
    assert panel.locator("h2").inner_text() == f"Segment {parent + 1}"
    assert page.evaluate("document.activeElement.ariaSelected") == "true"
    last = whole["segments"][-1]
    page.locator("[role=treeitem]").last.click()
    assert panel.locator("h2").inner_text() == f"Segment {last['index'] + 1}"
    shown = panel.locator(".tokens .piece").all_text_contents()
    assert shown == [piece.replace("\n", "↵\n") or "∅" for piece in last["pieces"]]
    numbers = [
        float(text.replace("−", "-")) for text in panel.locator(".tokens small").all_inner_texts()
    ]
    assert numbers == pytest.approx(last["logprobs"], abs=6e-3)
    assert MARKUP in panel.locator(".path-text").inner_text()


def evaluations(run, page):
    page.get_by_role("link", name="v0").first.wait_for()
    first = results(run, "held_out")[0]
    row = page.locator("section", has_text="held out").locator("tbody tr").last.inner_text()
    assert f"{100 * first['metrics']['accuracy']['value']:.1f}".rstrip("0").rstrip(".") in row
    assert "pass@2" in page.locator("section", has_text="arithmetic").first.inner_text()
    page.get_by_role("link", name="v0").first.click()
    page.locator("details").first.wait_for()
    rows = get(run, "eval/rows", benchmark="held_out", version=0)["rows"]
    assert page.locator("details").count() == len(rows) == HELD_OUT
    page.locator("details summary").first.click()
    opened = page.locator("details").first.inner_text()
    assert rows[0]["prompt"] in opened
    assert re.sub(r"\s+", "", rows[0]["texts"][0]) in re.sub(r"\s+", "", opened)
    fits(page, "Evaluations")


def settings(run, page):
    page.get_by_placeholder("Find a setting").fill("trainer.batch_trees")
    row = page.get_by_role("region", name="Settings").locator("tbody tr")
    row.first.wait_for()
    assert row.count() == 1
    assert re.sub(r"\s+", " ", row.inner_text()) == "trainer.batch_trees 4 --set"
    assert "treepo" in page.get_by_role("region", name="Plugins").inner_text()


def compare(run, page):
    page.get_by_label("Show earlier").wait_for()
    page.wait_for_function("() => document.querySelector('.plot canvas')")
    label = page.locator(".plot").first.get_attribute("aria-label")
    assert "earlier from" in label
    assert f"{run.directory.name} from" in label
    page.get_by_label("Show earlier").uncheck()
    page.wait_for_function("() => !document.querySelector('.plot').ariaLabel.includes('earlier')")


def test_charts_are_zoomed_together_and_a_picked_metric_stays(still, page):
    there = page(still)
    plot = there.locator(".plot .u-over").first
    plot.wait_for()
    box = plot.bounding_box()
    there.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
    there.mouse.down()
    there.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 50, steps=4)
    there.mouse.up()
    there.get_by_role("button", name="Show all").click()
    assert there.get_by_role("button", name="Show all").is_hidden()
    field = there.get_by_label("Add a metric by its name")
    field.fill("sharing_ratio")
    field.press("Enter")
    there.get_by_role("img", name="sharing_ratio: sharing_ratio from").wait_for()
    there.reload()
    there.get_by_role("img", name="sharing_ratio: sharing_ratio from").wait_for()
    there.get_by_role("button", name="Time").click()
    there.get_by_role("img", name=re.compile(r"Reward: .* at time \d")).wait_for()


def test_the_chosen_theme_is_kept(still, page):
    there = page(still)
    there.get_by_role("button", name="Show the dark theme").click()
    there.reload()
    assert there.evaluate("document.documentElement.dataset.theme") == "dark"
    assert there.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_what_is_known_stays_while_the_server_is_away(still, browser):
    """The last test: it takes the server down and up again."""
    with open_page(browser, still.url, token=still.viewer) as page:
        tile(page, "Step").wait_for()
        step = tile(page, "Step").inner_text()
        still.stop("serve")
        banner = page.get_by_role("alert")
        banner.get_by_text("No connection since").wait_for()
        assert tile(page, "Step").inner_text() == step
        page.get_by_role("button", name="Try now").click()
        banner.get_by_text("No connection since").wait_for()
        still.serve()
        banner.wait_for(state="hidden", timeout=60_000)
        assert page.locator("#connection").inner_text() == "live"
