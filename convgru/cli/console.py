"""Tables and progress bars on the terminal, with rich; JSON is printed by the commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from convgru import bench
from convgru.bench import tables
from convgru.errors import MOST, printable
from convgru.inspection import OWN, Survey, assumption
from convgru.parity import Progress as Callback
from convgru.parity.report import Report
from convgru.spec import CellSpec, ForecasterSpec
from convgru.spec.shapes import count_parameters
from convgru.weights import Weights

try:
    from rich.console import Console as Console
    from rich.markup import escape as escape_markup
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table
except ModuleNotFoundError as error:  # a checkout that is not installed
    raise ImportError(f"tables need rich: pip install rich ({error}); --json does without") from error


NAME = 200
"""Length to which a name is cut."""


def escape(text: object, most: int = MOST) -> str:
    """Return a text out of a file, or of a user, as rich is to print it."""
    return escape_markup(printable(text, most))


@contextmanager
def progress() -> Iterator[Callback]:
    """Show a progress bar on stderr; yield the function that moves it: (done, total, what)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def move(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(what))

        yield move


def show_weights(name: str, weights: Weights) -> None:
    """Print the network of these weights, layer by layer, and their arrays."""
    console, spec = _console(), weights.spec
    network = spec.encoder if isinstance(spec, ForecasterSpec) else spec
    what = f"{spec.title} of {network.layers[0].title} layers" if isinstance(spec, ForecasterSpec) else spec.title
    console.print(
        f"[bold]{escape(name)}[/]: {what}, {spec.ndim}-D, {count_parameters(spec)} parameters of {weights.dtype}"
    )
    if isinstance(spec, ForecasterSpec):
        console.print(f"frames of {spec.channels} channels, patch {spec.patch}, residual {spec.residual}")
        console.print(f"decoder {'none' if spec.decoder is None else 'of its own'}, feedback {spec.feedback}")
    if network.bidirectional is not None:
        console.print(f"bidirectional {network.bidirectional}, merge {network.merge}")
    layers = _table("layer", "in", "hidden", "kernel", "recurrent", "stride", "dilation", "padding", "bias", "cell")
    for index, layer in enumerate(network.layers):
        sizes = (layer.kernel_size, layer.recurrent_kernel_size, layer.stride, layer.dilation, layer.padding)
        numbers = map(str, (index, layer.in_channels, layer.hidden_channels, *sizes, layer.bias))
        layers.add_row(*numbers, _options(layer))
    arrays = _table("array", "shape", "smallest", "largest")
    for key, array in weights.arrays.items():
        low, high = float(array.min()), float(array.max())
        arrays.add_row(escape(key, NAME), str(array.shape), f"{low:.4g}", f"{high:.4g}")
    console.print(layers, arrays)


def show_survey(survey: Survey) -> None:
    """Print the networks of a file, what was assumed of each, and what else the file holds.

    Of a file that holds one network of convgru's own and no more it says only whether it has
    checksums.
    """
    console, networks = _console(), survey.networks
    first = networks[0]
    if len(networks) > 1:
        table = _table("prefix", "layout", "network", "in", "hidden", "kernel")
        for each in networks:
            layers = each.spec.recurrent.layers
            sizes = ([layer.hidden_channels for layer in layers], [layer.kernel_size for layer in layers])
            columns = (each.label, each.layout, each.spec.title, each.spec.in_channels, *sizes)
            table.add_row(*(escape(column, NAME) for column in columns))
        console.print(f"[bold]{escape(str(survey.path))}[/]: {len(networks)} networks; prefix= or --prefix chooses")
        console.print(table)
    elif first.layout != OWN:
        console.print(f"read as {escape(first.layout)}, {escape(first.label, NAME)}")
    for each in networks:
        if each.assumed:
            which = f"{escape(each.label, NAME)}: " if len(networks) > 1 else ""
            console.print(f"{which}[yellow]not in the file[/], {escape(assumption(each.assumed))}", soft_wrap=True)
    if survey.left:
        names = survey.left
        shown = ", ".join(printable(name) for name in names[:8]) + (
            f" and {len(names) - 8} more" if len(names) > 8 else ""
        )
        console.print(f"left alone: {escape(shown)}", soft_wrap=True)
    for reason in survey.reasons:
        console.print(f"[yellow]looks like a network and is not read:[/] {escape(reason.strip())}", soft_wrap=True)
    console.print("checksums (SHA-256): " + ("verified" if survey.verified else "none in the file"))


def _options(layer: CellSpec) -> str:
    """Return the options of a cell that are not the defaults."""
    named: dict[str, Any] = {"reset": layer.reset, "peephole": layer.peephole, "state size": layer.state_size}
    norm = None if layer.norm is None else f"of {layer.norm.groups} groups"
    named |= {"norm": norm, "groups": layer.groups if layer.groups > 1 else None, "updates": layer.updates or None}
    named |= {"padding mode": layer.padding_mode if layer.padding_mode != "zeros" else None}
    gates = [] if layer.recurrent_activation == "sigmoid" else [f"gates {layer.recurrent_activation}"]
    return ", ".join([layer.activation, *gates, *(f"{key} {value}" for key, value in named.items() if value)])


def show_report(report: Report) -> None:
    """Print the worst rows of a report, its controls, what was not compared, and the verdict.

    There is a row for each backend, dtype and quantity.
    """
    console = _console()
    console.print(", ".join(f"{name} {version}" for name, version in report.versions.items()))
    tf32 = ", TF32 on" if report.tf32 else ""
    devices = ", ".join(dict.fromkeys(report.devices.values())) or report.device
    console.print(f"{report.platform}, device {escape(devices)}{tf32}")
    table = _table("backend", "dtype", "quantity", "cases", "worst case", "error", "budget", "achieved / budget")
    for backend, dtype, quantity, count, row in report.summary():
        numbers = (f"{row.error:.2e}", f"{row.budget:.2e}", _verdict(f"{row.ratio:.2f}", row.ok))
        table.add_row(backend, dtype, quantity, str(count), row.case, *numbers)
    if table.row_count:
        console.print(table)
    if report.unoptimised:
        console.print(f"compiled without XLA's optimisation: {', '.join(report.unoptimised)}")
    if report.controls:
        caught = sum(control.caught for control in report.controls)
        least = min(control.ratio for control in report.controls)
        console.print(
            f"planted faults: {caught} of {len(report.controls)} caught, the smallest missing by {least:.3g} budgets"
        )
    for key, reason in {**report.unsupported, **report.absent}.items():
        console.print(f"[yellow]not compared[/] {escape(key)}: {escape(reason)}", soft_wrap=True)
    for reason, count in Counter(report.declined.values()).most_common():
        console.print(
            f"[yellow]declined[/] {count} {'cases' if count > 1 else 'case'}: {escape(reason)}", soft_wrap=True
        )
    failures = report.failures()
    for failure in failures[:20]:
        console.print(f"[red]MISS[/] {escape(failure)}", soft_wrap=True)
    if len(failures) > 20:
        console.print(f"[red]MISS[/] and {len(failures) - 20} more")
    console.print(_verdict(escape(report.verdict), report.ok), soft_wrap=True)


def show_bench(report: bench.Report) -> None:
    """Print the machine, the sizes, a table for each backend, and who has no times."""
    console = _console()
    console.print(escape(tables.facts(report)), soft_wrap=True)
    for workload in report.workloads.values():
        console.print(f"[bold]{workload.name}[/] {escape(workload.what)}: {escape(workload.sizes)}", soft_wrap=True)
    for backend in dict.fromkeys(row.backend for row in report.rows):
        table = _table(*tables.columns(report, backend))
        table.title = backend
        for line in tables.summary(report, backend):
            table.add_row(*map(escape, line))
        console.print(table)
    for text in tables.losses(report):
        console.print(f"[yellow]a rival is faster:[/] {escape(text)}", soft_wrap=True)
    for text in tables.others(report):
        console.print(f"[yellow]no time:[/] {escape(text)}", soft_wrap=True)
    for failure in report.failures():
        console.print(f"[red]FAILED[/] {escape(failure)}", soft_wrap=True)


def show_doctor(versions: Mapping[str, str], backends: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one row for every backend, and its notes below."""
    console = _console()
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))
    table = _table("backend", "versions", "devices", "files")
    for name, backend in backends.items():
        if backend["available"]:
            columns = [backend["versions"], backend["devices"]]
            cells = ["\n".join(f"{key} {value}" for key, value in column.items()) for column in columns]
            table.add_row(name, *map(escape, cells), " ".join(backend["suffixes"]) or ".safetensors")
        else:
            table.add_row(name, "[yellow]not available[/]", "", "")
    console.print(table)
    for name, backend in backends.items():
        for note in backend.get("notes", [backend.get("reason")]):
            console.print(f"[bold]{name}[/]: {escape(note)}", soft_wrap=True)


def _table(*titles: str) -> Table:
    """A table whose numbers and short names stay on one line; long texts wrap."""
    table = Table()
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title in ("backend", "dtype", "quantity", "error", "budget"))
    return table


def _console() -> Console:
    """Stdout; as wide as the terminal, or wide enough for every table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def _verdict(text: str, ok: bool) -> str:
    return f"[{'green' if ok else 'bold red'}]{text}[/]"
