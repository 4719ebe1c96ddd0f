"""Hostile folders of orbax: nothing outside of them is read, and nothing unpacks without bound."""

import asyncio
import bz2
import json
import logging
import os
import shutil

import numpy as np
import pytest

import convgru
from convgru import WeightsError

ocp = pytest.importorskip("orbax.checkpoint")
WEIGHTS = convgru.init(convgru.network("lstm", 1, 2))
ARRAYS = convgru.importers.export(WEIGHTS, "linen")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder as orbax writes it with a folder for each array."""
    folder = tmp_path_factory.mktemp("orbax") / "sound"
    tree = {"params": {name.replace("/", "-"): np.asarray(array) for name, array in ARRAYS.items()}}
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)).save(folder, tree)
    return folder


def array_of(folder):
    return next(path.parent for path in sorted(folder.glob("*/.zarray")))


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def linked_chunk(folder):
    (chunk,) = (path for path in array_of(folder).iterdir() if path.name[0].isdigit())
    chunk.rename(folder.parent / "outside")
    chunk.symlink_to(folder.parent / "outside")


def linked_array(folder):
    array = array_of(folder)
    array.rename(folder.parent / "outside")
    array.symlink_to(folder.parent / "outside")


def renamed(name):
    def spoil(folder):
        data = json.loads((folder / "_METADATA").read_text())
        first = next(iter(data["tree_metadata"].values()))
        first["key_metadata"] = [{"key": name, "key_type": 2}]
        (folder / "_METADATA").write_text(json.dumps(data))

    return spoil


def bomb(folder):
    array, length = array_of(folder), 1 << 20
    change(array / ".zarray", compressor={"id": "bz2", "level": 9}, chunks=[length], shape=[4])
    (chunk,) = (path for path in array.iterdir() if path.name[0].isdigit())
    chunk.rename(array / "0").write_bytes(bz2.compress(bytes(4 * length)))


HOSTILE = {
    "a chunk that is a link": (linked_chunk, "got a link or a device"),
    "an array that is a link": (linked_array, "got a link or a device"),
    "a pipe": (lambda folder: os.mkfifo(folder / "pipe"), "got a link or a device"),
    "a name that leads out": (renamed("../outside"), "names without slashes, got '../outside'"),
    "a name from the root": (renamed("/etc/passwd"), "names without slashes, got '/etc/passwd'"),
    "the folder above": (renamed(".."), "names without slashes"),
    "a chunk that unpacks to anything": (bomb, "compression of zstd or blosc, got 'bz2'"),
    "chunks larger than all": (
        lambda folder: change(array_of(folder) / ".zarray", chunks=[1 << 40]),
        "chunks of at most 67108864 bytes",
    ),
    "chunks of nothing": (lambda folder: change(array_of(folder) / ".zarray", chunks=[0]), "integers > 0"),
    "numbers of no kind": (lambda folder: change(array_of(folder) / ".zarray", dtype="none"), "expected numbers"),
    "a description that is no object": (
        lambda folder: (array_of(folder) / ".zarray").write_text("[]"),
        "integers > 0",
    ),
    "metadata without end": (lambda folder: (folder / "_METADATA").write_text('{"' + '\\"' * 99), "JSON"),
}


def test_the_sound_folder_that_the_hostile_ones_are_made_of_is_read(sound):
    from convgru_flax.checkpoint_foreign import read_orbax

    arrays = read_orbax(sound)
    assert {name.removeprefix("params/").replace("-", "/") for name in arrays} == set(ARRAYS)


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_folders(sound, tmp_path, name):
    spoil, message = HOSTILE[name]
    shutil.copytree(sound, tmp_path / "bad")
    spoil(tmp_path / "bad")
    with pytest.raises(WeightsError) as caught:
        convgru.read(tmp_path / "bad")
    assert message in str(caught.value)


def test_reads_that_overlap_leave_everything_as_it_was():
    from convgru_flax.orbax_folder import quiet

    policy, filters = asyncio.get_event_loop_policy(), list(logging.getLogger("absl").filters)
    first, second = quiet(), quiet()
    for step in (first.__enter__, second.__enter__):
        step()
    first.__exit__(None, None, None)
    assert asyncio.get_event_loop_policy() is not policy  # the second still reads
    second.__exit__(None, None, None)
    assert asyncio.get_event_loop_policy() is policy
    assert logging.getLogger("absl").filters == filters
