"""Gradients on several devices equal those on one: shard_map, explicit meshes, partitioned jit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("sharded_gradients.py")
CASES = {"shard_mapped": 12, "in_space": 20, "results_in_space": 3, "forecast_by_batch": 4}


@pytest.mark.parametrize("part", CASES)
def test_sharded_gradients_are_the_unsharded(part):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, SCRIPT, part], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    differences = json.loads(done.stdout.splitlines()[-1])
    assert len(differences) == CASES[part]
    assert {case: error for case, error in differences.items() if not error < 1e-5} == {}
