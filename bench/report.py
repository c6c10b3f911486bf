"""What a run shows: the table in the terminal and in docs/benchmarks.md, and plots."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.table import Table

from bench.results import Result, Results, Spread
from bench.rows import MS, ROWS, Row

BEGIN = "<!-- The table below is generated: python -m bench --update -->"
END = "<!-- The end of the generated table -->"

_HEAD = ("", "service", "compared with", "ratio", "bar", "met")


def markdown(results: Results) -> str:
    """Return what stands between the markers of docs/benchmarks.md."""
    machine = results.machine
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    lines = [
        _line(("date", results.date)),
        _line(("---", "---")),
        _line(("machine", f"{machine.cpu}, {machine.cores} cores, {machine.system}")),
        _line(("versions", f"Python {machine.python}, {versions}")),
        _line(("size", f"{results.rounds} rounds of {results.requests} requests")),
        "",
        _line(_HEAD),
        _line("---" for _ in _HEAD),
        *(_line(cells) for cells in _cells(results)),
    ]
    return "\n".join(lines)


def table(results: Results) -> Table:
    """Return the measured rows for a terminal."""
    shown = Table("row", *_HEAD[1:])
    for row in ROWS:
        if result := results.rows.get(row.key):
            _, *cells = _measured(row, result)
            shown.add_row(row.key, *(cell.replace("`", "") for cell in cells))
    return shown


def put_into(document: Path, results: Results) -> None:
    """Replace the generated part of a document; raises ValueError if it has no markers."""
    text = document.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} lacks the line {BEGIN if not begin else END}")
    document.write_text(f"{before}{begin}\n\n{markdown(results)}\n\n{end}{after}", "utf-8")


def plot(results: Results, folder: Path) -> None:
    """Draw cpu.png and ratios.png: medians, with the quartiles as error bars."""
    rows = [(row, results.rows[row.key]) for row in ROWS if row.key in results.rows]
    _draw(folder / "cpu.png", "CPU of a request, ms", _cpu_bars(rows))
    _draw(folder / "ratios.png", "ours ÷ peer, in parts of the bar", _ratio_bars(rows))


_Bars = list[tuple[str, Spread, str]]  # label, figure, colour


def _cpu_bars(rows: list[tuple[Row, Result]]) -> _Bars:
    bars: _Bars = []
    for row, result in rows:
        if row.unit == MS and result.peer:
            bars.append((row.ours.replace("`", ""), result.ours, "tab:blue"))
            bars.append(((row.peer or "").replace("`", ""), result.peer, "tab:gray"))
    return bars


def _ratio_bars(rows: list[tuple[Row, Result]]) -> _Bars:
    bars: _Bars = []
    for row, result in rows:
        if result.ratio and row.by_ratio:
            median, low, high = (
                value / row.bar for value in (result.ratio.median, result.ratio.low, result.ratio.high)
            )
            part = Spread(median=median, low=low, high=high)
            bars.append((row.key, part, "tab:green" if result.met else "tab:red"))
    return bars


def _draw(file: Path, title: str, bars: _Bars) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.4 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    spreads = [spread for _, spread, _ in bars]
    axes.barh(
        range(len(bars)),
        [spread.median for spread in spreads],
        xerr=[[one.median - one.low for one in spreads], [one.high - one.median for one in spreads]],
        color=[colour for _, _, colour in bars],
    )
    axes.set_yticks(range(len(bars)), [label for label, _, _ in bars])
    axes.invert_yaxis()
    axes.set_title(title)
    FigureCanvasAgg(figure).print_png(file)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(results: Results) -> Iterator[tuple[str, ...]]:
    for row in ROWS:
        if result := results.rows.get(row.key):
            yield _measured(row, result)
        else:
            why = (results.left_out | results.failed).get(row.key, "")
            yield row.ours, "", row.peer or "", "", _bar(row), f"not measured: {why}"


def _measured(row: Row, result: Result) -> tuple[str, ...]:
    peer = f"{row.peer}: {_figure(result.peer, '')}" if result.peer else ""
    ratio = f"{result.ratio.median:.2f} ({result.ratio.low:.2f} to {result.ratio.high:.2f})" if result.ratio else ""
    return row.ours, _figure(result.ours, row.unit), peer, ratio, _bar(row), _verdict(result)


def _bar(row: Row) -> str:
    return f"{row.bar:g}" if row.by_ratio else f"{row.bar:g} {row.unit}"


def _verdict(result: Result) -> str:
    if result.moonshot_met and result.moonshot < result.bar:
        return f"yes, and {result.moonshot:g}"
    return "yes" if result.met else "no"


def _figure(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return ""
    between = f" ({spread.low:.4g} to {spread.high:.4g})" if spread.width else ""
    return f"{spread.median:.4g} {unit}".strip() + between
