"""Whatever happens while a file is written: the old one or the new one is whole, in each format."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import support

from convgru.formats import atomic

FORMATS = {".safetensors": None, ".npz": None, ".weights.h5": "h5py", ".pt": "torch", ".msgpack": "flax"}
FORMATS |= {".ckpt": "mindspore"}
KILLED, TERMINATED = -9, -15
EXPECTED = {
    "killed before a byte is written": (KILLED, "", "before", 1),
    "killed before the bytes are on the disk": (KILLED, "", "before", 1),
    "killed before the file has its name": (KILLED, "", "before", 1),
    "killed after the file has its name": (KILLED, "", "after", 0),
    "terminated": (TERMINATED, "", "before", 1),
    "interrupted": (0, "KeyboardInterrupt", "before", 0),
    "a full disk": (0, "OSError: [Errno 27] File too large", "before", 0),
    "a disk full at the last moment": (0, "OSError: [Errno 28] No space left on device", "before", 0),
    "a read-only folder": (0, "PermissionError: [Errno 13] Permission denied", "before", 0),
}
"""Exit code, message, whose numbers the file holds, and how many files are left beside it."""


@pytest.fixture
def folder():
    """A folder that everybody may read, which pytest's are not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.skipif(sys.platform != "linux", reason="faults by Linux' means")
@pytest.mark.parametrize("suffix", FORMATS)
def test_whatever_happens_a_whole_file_is_there(folder, suffix):
    if FORMATS[suffix] is not None and importlib.util.find_spec(FORMATS[suffix]) is None:
        pytest.skip(f"{FORMATS[suffix]} is not installed")
    script = Path(support.__file__).with_name("writing_faults.py")
    done = subprocess.run(
        [sys.executable, str(script), suffix, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = {line["fault"]: line for line in map(json.loads, done.stdout.splitlines())}
    writers, places = results.pop("two writers"), results.pop("places")
    assert results.keys() == EXPECTED.keys()
    for fault, (code, said, held, left) in EXPECTED.items():
        result = results[fault]
        assert (result["code"], result["held"], len(result["left"])) == (code, held, left), result
        assert result["said"].startswith(said), result
        assert all(name.startswith(atomic.PREFIX) and name.endswith(suffix) for name in result["left"]), result
        assert (result["then"], result["left then"]) == ("after", []), result  # the next write cleans up
    assert writers["codes"] == [0, 0]
    assert writers["left"] == []
    assert set(writers["seen"]) <= {"before", "after", "other"}
    assert writers["held"] in ("after", "other")
    assert places == {"fault": "places", "held": ["after", "after"], "link": True, "mode": 0o600}
