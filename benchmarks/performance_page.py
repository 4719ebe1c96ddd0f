r"""Write the tables of docs/performance.md anew, from a run of ``convgru bench``.

From the checkout, in an environment with the frameworks, on a quiet machine:

    PYTHONPATH=.:backends python benchmarks/performance_page.py [REPORT.json] [OPTIONS]

OPTIONS are those of ``convgru bench``. With REPORT.json, which
``convgru bench --output`` wrote, nothing is run.
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
    if arguments and Path(arguments[0]).is_file():
        made = "convgru bench"
        report = Report.from_json(Path(arguments[0]).read_text(encoding="utf-8"))
    else:
        made = " ".join(["convgru bench", *arguments])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "report.json")
            command = [sys.executable, "-m", "convgru", "bench", *arguments, "--output", str(path)]
            subprocess.run(command, check=False)
            report = Report.from_json(path.read_text(encoding="utf-8"))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), made, report), encoding="utf-8")


def replaced(page: str, made: str, report: Report) -> str:
    """Return the page with the tables of this report, made by this command."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n`{made}`: {tables.markdown(report)}{END}{after}"


if __name__ == "__main__":
    main(sys.argv[1:])
