r"""Write the tables of docs/performance.md anew, from a run of ``convgru bench``.

From the checkout, in an environment with the frameworks, on a quiet machine:

    PYTHONPATH=.:backends python benchmarks/performance_page.py [OPTIONS of convgru bench]
    PYTHONPATH=.:backends python benchmarks/performance_page.py REPORT.json [REPORT.json ...]

The second form runs nothing: the reports are those of ``convgru bench --output``, of the same sizes
on the same machine, one for each framework for example.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from convgru.bench import Report, tables

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def main(arguments: list[str]) -> None:
    if arguments and all(Path(argument).is_file() for argument in arguments):
        report = joined([Report.from_json(Path(argument).read_text(encoding="utf-8")) for argument in arguments])
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "report.json")
            command = [sys.executable, "-m", "convgru", "bench", *arguments, "--output", str(path)]
            subprocess.run(command, check=False)  # exit code 1 leaves a report that says why
            report = Report.from_json(path.read_text(encoding="utf-8"))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")


def joined(reports: list[Report]) -> Report:
    """Return one report with the rows of all; the first must have every workload of the others.

    Raises ValueError if their sizes or CPUs differ.
    """
    whole = reports[0]
    for report in reports[1:]:
        if report.workloads.items() - whole.workloads.items() or report.machine["cpu"] != whole.machine["cpu"]:
            raise ValueError("expected reports of the same workloads, sizes and machine")
        whole.rows += report.rows
        whole.versions |= report.versions
    return whole


def replaced(page: str, report: Report) -> str:
    """Return the page with the tables of this report."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables.markdown(report)}{END}{after}"


if __name__ == "__main__":
    main(sys.argv[1:])
