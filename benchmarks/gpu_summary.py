"""Join what ``benchmarks/gpu.sh`` wrote so far: bench.json, bench.md and summary.md."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from convgru.bench import Report, tables

COLUMNS = ("run", "backend", "dtype", "device", "cases", "over budget", "worst quantity", "worst achieved / budget")


def main(folder: Path) -> None:
    benches = sorted(folder.glob(".bench-*.json"))
    reports = {path.stem.removeprefix(".bench-"): path.read_text(encoding="utf-8") for path in benches}
    if reports:
        (folder / "bench.json").write_text(json.dumps({name: json.loads(text) for name, text in reports.items()}))
        pages = [f"## {name}\n\n{tables.markdown(Report.from_json(text))}" for name, text in reports.items()]
        (folder / "bench.md").write_text("\n".join(pages), encoding="utf-8")
    parities = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("parity-*.json"))
    }
    (folder / "summary.md").write_text(summary(folder, parities), encoding="utf-8")


def summary(folder: Path, parities: dict[str, Any]) -> str:
    """Return what ran and how it ended, the worst of each parity run, and the kernels' tests."""
    log = (folder / "log").read_text(encoding="utf-8") if (folder / "log").exists() else ""
    lines = ["# One run on a GPU", "", "## Stages", ""]
    lines += [f"- {line}" for line in re.findall(r"^[\w-]+: (?:exit code|no time).*$", log, re.M)]
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
    kernels = folder / ".kernels.xml"
    if kernels.exists():
        counts = re.search(r"<testsuite [^>]*>", kernels.read_text(encoding="utf-8"))
        lines += ["", "## Kernels", "", "`" + (counts[0] if counts else "no tests") + "`"]
    return "\n".join([*lines, ""])


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
    main(Path(sys.argv[1]))
