"""The one command for a GPU, where there is none: it ends at once and says so, or tries itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.scripts import module

ROOT = Path(__file__).resolve().parents[2]


def run(folder, **environment):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, **environment}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done, (folder / "summary.md").read_text(encoding="utf-8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(tmp_path):
    done, summary = run(tmp_path)
    assert done.returncode == 2
    for text in (done.stdout, summary):
        assert "no GPU: torch sees no CUDA device here (" in text
    assert "exit code" not in summary


def test_a_stage_that_fails_stops_no_other(tmp_path):
    """The summary says how each ended, and what it said."""
    done, summary = run(tmp_path, DEVICE="cpu", ONLY="^bench-(bfloat16|float32)-W2$", WORKLOAD="W0", JOBS="1")
    assert done.returncode == 1, done.stderr
    for name in ("bench-bfloat16-W2", "bench-float32-W2"):
        assert f"- {name}: exit code 2 after" in summary
        assert "W0" in summary.partition(f"## What {name} said last (exit code 2)")[2].partition("##")[0]


def test_what_it_runs(tmp_path, capsys):
    """The check and the measurement of streams try themselves on a CPU."""
    module("benchmarks/gpu_streams.py").main(tmp_path / "streams.md", "cpu")
    assert "| tiny | no | training |" in (tmp_path / "streams.md").read_text(encoding="utf-8")
    assert module("benchmarks/gpu_check.py").main("cpu") == 0
    assert "- lean: " in capsys.readouterr().out


def test_without_time(tmp_path):
    done, summary = run(tmp_path, DEVICE="cpu", SECONDS_LEFT="0", JOBS="1")
    assert done.returncode == 1, done.stderr
    assert "- check: no time left" in summary
    assert "- parity-jax-tf32: no time left" in summary
