"""A full disk while a file is written, in every format: OSError, and what was there stays."""

import subprocess
import sys

import pytest

import convgru

FORMATS = {".safetensors": None, ".pt": "torch", ".msgpack": "flax", ".ckpt": "mindspore"}
FULL = """
import resource, signal, sys
import convgru

weights = convgru.init(convgru.network("gru", 16, 64), 2)
for path in sys.argv[1:]:
    convgru.write(convgru.init(convgru.network("gru", 1, 1), 3), path + ".warm" + path[path.rindex("."):])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for path in sys.argv[1:]:
    try:
        convgru.write(weights, path)
    except OSError as error:
        print(path, "OSError", error)
    except BaseException as error:
        print(path, type(error).__name__, error)
    else:
        print(path, "was written")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set by Linux' means")
def test_a_full_disk(tmp_path):
    available = convgru.registry.available()
    suffixes = [suffix for suffix, room in FORMATS.items() if room is None or not isinstance(available[room], str)]
    before = convgru.init(convgru.network("gru", 1, 2), 1)
    paths = [tmp_path / suffix.lstrip(".") / f"m{suffix}" for suffix in suffixes]
    for path in paths:
        path.parent.mkdir()
        convgru.write(before, path)
    done = subprocess.run([sys.executable, "-c", FULL, *map(str, paths)], capture_output=True, text=True)
    for path in paths:
        assert f"{path} OSError [Errno 27] File too large" in done.stdout, done.stdout + done.stderr[-2000:]
        assert convgru.read(path).equal(before)
        assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.warm{path.suffix}"]
