"""The one command for a GPU, where there is none: it ends at once and says so, or tries itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
    """The summary says how each ended, and what the failed one said."""
    only = "^(bench-bfloat16|streams)$"
    done, summary = run(tmp_path, DEVICE="cpu", ONLY=only, WORKLOADS="W0", JOBS="1")
    assert done.returncode == 1, done.stderr
    assert "- bench-bfloat16: exit code 2 after" in summary
    assert "- streams: exit code 0 after" in summary
    assert "unknown W0" in summary or "'W0'" in summary, summary
    assert "| tiny | no | training |" in (tmp_path / "streams.md").read_text(encoding="utf-8")


def test_without_time(tmp_path):
    done, summary = run(tmp_path, DEVICE="cpu", SECONDS_LEFT="0", JOBS="1")
    assert done.returncode == 1, done.stderr
    assert "- check: no time left" in summary
    assert "- parity-jax-tf32: no time left" in summary
