"""What ``benchmarks/gpu.sh`` leaves when it is cut off: the stages that ended."""

import json
import runpy
from pathlib import Path

import numpy as np

from convgru import parity
from convgru.bench import Report, Row
from convgru.bench.workloads import scaled
from convgru.parity import table as case_table

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_summary.py"))
LOG = """== check (at most 9 s): python3 check.py
noise
- gru: 3 eps
check: exit code 0 after 2 s
== kernels (at most 9 s): pytest
noise
kernels: exit code 0 after 3 s
== streams (at most 9 s): python3 streams.py
no such stream
streams: exit code 1 after 3 s
parity-torch-half: no time left
"""


class Wrong:
    """A network that gives zeros."""

    tensors = "numpy"

    def run(self, spec, arrays, x, state, **call):
        y, final = np.zeros((*x.shape[:2], 3, *x.shape[3:]), x.dtype), np.zeros((x.shape[1], 3, *x.shape[3:]), x.dtype)
        return y, (final,)


def test_what_has_ended_is_written(tmp_path):
    folder, work = tmp_path / "out", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "log").write_text(LOG)
    SCRIPT["main"](folder, work)
    text = (folder / "summary.md").read_text()
    assert "- kernels: exit code 0 after 3 s" in text
    assert "- parity-torch-half: no time left" in text
    assert "noise" not in text
    assert "## Check\n\n- gru: 3 eps\n\n## What streams said last (exit code 1)\n\n```\nno such stream\n```\n" in text
    assert json.loads((folder / "parity.json").read_text()) == {}
    case = [case for case in case_table.table() if case.name == "gru-before-1d"]
    report = parity.run(case, module=Wrong, dtypes=["float64"], controls=False, gradients=False)
    (work / "parity-torch-float.json").write_text(report.to_json())
    row = Row("torch", "W2", "lstm", "convgru", "training", "ok", samples=(0.5,))
    facts = {"cpu": "a", "cores": 1, "threads": 1, "system": "b", "python": "3"}
    settings = {"scale": 1.0, "runs": 1, "precision": "bfloat16", "device": "cuda"}
    versions = {"gpu": "a card", "TFLOP/s of a matrix product": "100"}
    (work / "bench-bfloat16.json").write_text(
        Report(facts, settings, scaled(["W2"], 1), [row], versions).to_json(), encoding="utf-8"
    )
    SCRIPT["main"](folder, work)
    text = (folder / "summary.md").read_text()
    assert "| torch-float | Wrong | float64 |" in text
    assert "Wrong float64 gru-before-1d: output" in text
    assert json.loads((folder / "parity.json").read_text())["torch-float"]["ok"] is False
    page = (folder / "bench.md").read_text()
    assert "bfloat16 on cuda" in page
    pixels, gates = 64 * 64 * 8 * 20, 4 * 64 * 9
    operations = 3 * 2 * pixels * gates * ((1 + 64) + (64 + 64))
    assert f"W2 lstm training: {operations / 0.5 / 1e12:.3g} TFLOP/s" in page
    assert f"{operations / 0.5 / 1e12 / 100:.3f} of a matrix product's 100" in page
