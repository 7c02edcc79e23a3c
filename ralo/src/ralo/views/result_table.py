"""Results of evaluations as a table: a row per metric, with its 95 % interval."""

from collections.abc import Iterable

from rich.table import Table

from ralo.views.results import Result


def result_table(results: Iterable[Result]) -> Table:
    """Return the table of `results`, in their order."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("benchmark", no_wrap=True)
    for heading in ("version", "items", "samples"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for heading in ("value", "95 % interval", "tokens", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        for row, (name, estimate) in enumerate(result["metrics"].items()):
            interval = f"{estimate['low']:.3f} to {estimate['high']:.3f}"
            table.add_row(
                *(_head(result) if row == 0 else [""] * 4),
                name,
                f"{estimate['value']:.3f}",
                interval,
                *((f"{result['tokens']:,}", f"{result['seconds']:.1f}") if row == 0 else ("", "")),
            )
    return table


def _head(result: Result) -> list[str]:
    numbers = (result["version"], result["items"], result["samples"])
    return [result["benchmark"], *map(str, numbers)]
