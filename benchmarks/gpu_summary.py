"""Join what the stages of ``benchmarks/gpu.sh`` wrote so far into the files it leaves."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from convgru.bench import Report, tables

COLUMNS = ("run", "backend", "dtype", "device", "cases", "over budget", "worst quantity", "worst achieved / budget")
LAST = 25
"""How many lines to show of what a stage that failed wrote."""


def main(folder: Path, work: Path) -> None:
    """Write into ``folder`` what the reports in ``work``, one of each stage, say together."""
    benches = dict(read(work, "bench-"))
    if benches:
        joined = {name: json.loads(text) for name, text in benches.items()}
        (folder / "bench.json").write_text(json.dumps(joined, indent=1), encoding="utf-8")
        pages = [f"## {name}\n\n{tables.markdown(Report.from_json(text))}" for name, text in benches.items()]
        (folder / "bench.md").write_text("\n".join(pages), encoding="utf-8")
    parities = {name: json.loads(text) for name, text in read(work, "parity-")}
    (folder / "parity.json").write_text(json.dumps(parities, indent=1), encoding="utf-8")
    (folder / "summary.md").write_text(summary(folder, work, parities), encoding="utf-8")


def read(work: Path, start: str) -> list[tuple[str, str]]:
    """Return the name and the text of each stage's report."""
    return [(path.stem.removeprefix(start), path.read_text("utf-8")) for path in sorted(work.glob(f"{start}*.json"))]


def summary(folder: Path, work: Path, parities: dict[str, Any]) -> str:
    """Return what ran and how it ended, the worst of each parity run, and the kernels' tests."""
    log = (folder / "log").read_text(encoding="utf-8") if (folder / "log").exists() else ""
    lines = ["# One run on a GPU", "", "## Stages", ""]
    lines += [f"- {line}" for line in re.findall(r"^(?:[\w-]+: (?:exit code|no time)|no GPU: ).*$", log, re.M)]
    stages = spoken(log)
    if "check" in stages:
        lines += ["", "## Check", "", *(line for line in stages["check"][1] if line.startswith("- "))]
    for name, (code, said) in stages.items():
        if code not in ("0", ""):
            lines += ["", f"## What {name} said last (exit code {code})", "", "```", *said[-LAST:], "```"]
    lines += [
        "",
        "## Parity",
        "",
        *tables.table(COLUMNS, [row for name in parities for row in rows(name, parities[name])]),
    ]
    for name, report in parities.items():
        versions = ", ".join(f"{key} {value}" for key, value in report["versions"].items())
        devices = ", ".join(dict.fromkeys(report["devices"].values()))
        lines += ["", f"{name}: {devices}; {report['platform']}; {versions}; TF32 {'on' if report['tf32'] else 'off'}."]
        lines += [f"- {failure}" for failure in report["failures"][:50]]
    kernels = work / "kernels.xml"
    if kernels.exists():
        counts = re.search(r"<testsuite [^>]*>", kernels.read_text(encoding="utf-8"))
        lines += ["", "## Kernels", "", "`" + (counts[0] if counts else "no tests") + "`"]
    return "\n".join([*lines, ""])


def spoken(log: str) -> dict[str, tuple[str, list[str]]]:
    """Return the exit code of each stage that ran, and the lines that it wrote; "" for no end."""
    found = {}
    for part in re.split(r"^== ", log, flags=re.M)[1:]:
        name, *said = part.splitlines()
        name = name.split()[0]
        ends = [re.match(rf"{re.escape(name)}: exit code (\d+)", line) for line in said]
        at = next((number for number, end in enumerate(ends) if end), len(said))
        found[name] = "" if at == len(said) else ends[at][1], said[:at]
    return found


def rows(name: str, report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one line of ``COLUMNS`` for each backend and dtype of a report."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in report["rows"]:
        found.setdefault((row["backend"], row["dtype"], row["device"]), []).append(row)
    lines = []
    for (backend, dtype, device), each in found.items():
        worst = max(each, key=lambda row: float(row["ratio"]))
        over = sum(not row["ok"] for row in each)
        what = f"{worst['quantity']} of {worst['case']}"
        cases = len({row["case"] for row in each})
        lines.append((name, backend, dtype, device, str(cases), str(over), what, f"{float(worst['ratio']):.3f}"))
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
