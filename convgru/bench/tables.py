"""A report as tables of text: for the terminal, and as Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator

from convgru.bench.contest import PLAIN
from convgru.bench.report import OK, Report, Row

COLUMNS = (
    "network",
    "measure",
    "ms (quartiles)",
    "of floor",
    "of plain loop",
    "of best rival",
    "saved MB",
    "peak MB",
    "first call s",
)

ROOF = "TFLOP/s of a matrix product"
"""What a GPU's versions say of it."""


def summary(report: Report, backend: str) -> list[tuple[str, ...]]:
    """Return one line of ``COLUMNS`` for each of convgru's own rows of a backend, with ratios."""
    return [_line(report, row) for row in report.rows if row.backend == backend and row.ours and row.measure != "all"]


def columns(report: Report, backend: str) -> tuple[str, ...]:
    """The titles of ``summary``; where PyTorch was timed too, the others are compared with it."""
    return (*COLUMNS, "of PyTorch's plain loop") if _beside_torch(report, backend) else COLUMNS


def _beside_torch(report: Report, backend: str) -> bool:
    return backend != "torch" and any(row.backend == "torch" for row in report.rows)


def _line(report: Report, row: Row) -> tuple[str, ...]:
    flat, plain = report.flat(row), report.find(row, PLAIN)
    best = "" if flat["best_rival"] in (None, PLAIN) else f" {flat['best_rival']}"
    name = f"{row.workload} {row.cell}{row.contestant.removeprefix('convgru')}"
    if row.status != OK:
        return (name, row.measure, row.status, *[""] * (len(columns(report, row.backend)) - 3))
    line = (
        name,
        row.measure,
        _milliseconds(row),
        _ratio(flat["to_floor"]),
        _ratio(flat["to_plain"]),
        _ratio(flat["to_best_rival"]) + best,
        _bytes("saved_bytes", row, plain),
        _bytes("peak_bytes", row, plain),
        "" if row.first is None else f"{row.first:.2g}",
    )
    return (*line, _ratio(flat["to_torch_plain"])) if _beside_torch(report, row.backend) else line


def _milliseconds(row: Row) -> str:
    numbers = [seconds * 1e3 for seconds in (row.seconds or 0.0, *(row.spread or ()))]
    places = max(0, min(3, 3 - len(str(int(numbers[0])))))
    text = [f"{number:.{places}f}" for number in numbers]
    return text[0] if len(text) == 1 else f"{text[0]} ({text[1]} to {text[2]})"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _bytes(name: str, row: Row, plain: Row | None) -> str:
    """Megabytes, and behind them the part of the plain loop's."""
    value, other = (None if each is None else getattr(each, name) for each in (row, plain))
    if value is None:
        return ""
    return f"{value / 1e6:.3g}" + (f" ({value / other:.2f})" if other else "")


def others(report: Report) -> Iterator[str]:
    """Yield a sentence for each contestant without times, those of one reason together."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in report.rows:
        if row.status != OK:
            reason = f"{row.status}: {row.reason}" if row.reason else row.status
            where = f"{row.workload} {row.cell}" + ("" if row.measure == "all" else f" {row.measure}")
            reasons.setdefault((f"{row.backend}, {row.contestant}", reason), []).append(where)
    for (who, reason), places in reasons.items():
        yield f"{who} ({', '.join(dict.fromkeys(places))}): {reason}"
    for name, reason in report.absent.items():
        yield f"{name}: {reason}"


def losses(report: Report) -> Iterator[str]:
    """Yield a line for each row of convgru's default network that a rival beats, worst first."""
    found = []
    for row in report.rows:
        flat = report.flat(row) if row.contestant == "convgru" and row.samples else {}
        if (ratio := flat.get("to_best_rival")) is not None and ratio > 1:
            found.append((ratio, f"{' '.join(row.contest)}: {ratio:.2f} of {flat['best_rival']}"))
    yield from (text for _, text in sorted(found, reverse=True))


def roofline(report: Report) -> Iterator[str]:
    """Yield a line for each row of convgru's own: its rate, and the part of a matrix product's.

    Counted are the convolutions' multiply-adds, two operations each: forward once, in training
    three times.
    """
    roof = float(report.versions.get(ROOF, "nan"))
    for row in report.rows:
        if row.ours and row.seconds:
            work = report.workloads[row.workload]
            operations = 2 * work.work * (4 / 3 if row.cell == "lstm" else 1) * (3 if row.measure == "training" else 1)
            rate = operations / (work.time if work.streaming else 1) / row.seconds / 1e12
            name = f"{row.workload} {row.cell} {row.measure}{row.contestant.removeprefix('convgru')}"
            yield f"{name}: {rate:.3g} TFLOP/s, {rate / roof:.3f} of a matrix product's {roof:g}"


def facts(report: Report) -> str:
    """Return machine, versions and settings in one paragraph."""
    machine, settings = report.machine, report.settings
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads"
    where += f", {machine['memory_gb']} GB" if "memory_gb" in machine else ""
    where += f", load before the run {machine['load_before']}" if "load_before" in machine else ""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))
    how = f"scale {settings['scale']:g}, up to {settings['runs']} rounds"
    how += f", {settings.get('precision', 'float32')} on {settings.get('device', 'cpu')}"
    return f"{where}; {machine['system']}, Python {machine['python']}, {versions}; {how}."


def markdown(report: Report) -> str:
    """Return the whole report as Markdown, without headings above the third level."""
    lines = [facts(report), "", *table(("workload", "what it stands for", "sizes of this run"), _sizes(report))]
    for backend in dict.fromkeys(row.backend for row in report.rows):
        lines += ["", f"### {backend}", "", *table(columns(report, backend), summary(report, backend))]
    if ROOF in report.versions:
        lines += ["", "### Rates", "", *(f"- {text}" for text in roofline(report))]
    beaten, left_out = [*losses(report)], [*others(report)]
    lines += ["", "### Where convgru does not win", ""]
    lines += [f"- {text}" for text in beaten] or ["Nowhere in this run."]
    if left_out:
        lines += ["", "### Without a time", "", *(f"- {text}" for text in left_out)]
    return "\n".join([*lines, ""])


def _sizes(report: Report) -> list[tuple[str, ...]]:
    return [(each.name, each.what, each.sizes) for each in report.workloads.values()]


def table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return [*lines, *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)]
