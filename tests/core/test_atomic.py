"""Files are written whole or not at all: what was there stays, nothing half is left."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

import convgru
from convgru.formats import atomic

SPEC = convgru.network("rnn", 1, 2, 1, ndim=1)
WEIGHTS = convgru.init(SPEC)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    convgru.write(WEIGHTS, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        convgru.write(convgru.init(SPEC, seed=1), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/w\.safetensors: there is no folder .*no$"):
        convgru.write(WEIGHTS, tmp_path / "no" / "w.safetensors")


def test_replacing_follows_a_link_and_cleans_up(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "w.safetensors", tmp_path / "w.safetensors"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with pytest.raises(FileNotFoundError), atomic.replacing(link) as temporary:
        temporary.rename(temporary.with_name("elsewhere")).write_bytes(b"half")
    (target.parent / "elsewhere").unlink()
    assert target.read_bytes() == b"old"
    with atomic.replacing(link) as temporary:
        assert temporary.suffix == ".safetensors"
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [each.name for each in target.parent.iterdir()] == [target.name]


def replace_in_the_meantime(target):
    def write():
        with atomic.replacing(target, overwrite=False) as temporary:
            temporary.write_bytes(b"mine")
            target.write_bytes(b"somebody else's")

    with pytest.raises(FileExistsError, match=rf"{target.name} exists"):
        write()


@pytest.mark.parametrize("links", [True, False])
def test_a_new_name_is_given_in_one_step(tmp_path, monkeypatch, links):
    """No moment lies between the check and the name, with hard links or without."""
    target = tmp_path / "report.json"

    def refuse(*_):
        raise OSError("no hard links")

    with monkeypatch.context() as patched:
        if not links:
            patched.setattr(os, "link", refuse)
        with atomic.replacing(target, overwrite=False) as temporary:
            temporary.write_bytes(b"first")
        assert target.read_bytes() == b"first"
        target.unlink()
        patched.setattr(os.path, "lexists", lambda _: False)  # the check finds nothing: too early
        replace_in_the_meantime(target)
        assert target.read_bytes() == b"somebody else's"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_replacing_keeps_what_exists_if_told_so(tmp_path):
    """Before the block and after it: a file that somebody writes in the meantime is kept too."""
    target = tmp_path / "report.json"
    with atomic.replacing(target, overwrite=False) as temporary:
        temporary.write_bytes(b"first")
    with pytest.raises(FileExistsError, match=r"report\.json exists"), atomic.replacing(target, overwrite=False):
        pytest.fail("the block is not entered")
    target.unlink()
    replace_in_the_meantime(target)
    assert target.read_bytes() == b"somebody else's"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_permissions_are_kept_and_nobody_else_reads_what_is_being_written(tmp_path, mode):
    target = tmp_path / "w.safetensors"
    target.write_bytes(b"old")
    target.chmod(mode)
    with atomic.replacing(target) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_bytes(b"new")
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.read_bytes() == b"new"


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "any").touch()
    with atomic.replacing(tmp_path / "new") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "any").stat().st_mode


WRITE = """
import sys, time
from convgru.formats import atomic
with atomic.replacing(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print("go", flush=True)
    sys.stdin.read()
    temporary.write_bytes(b"whole")
"""


@pytest.fixture
def writer():
    """A function that starts a process that is half way through writing a file."""
    started = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"go\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(os.name != "posix", reason="kill -9 and locks of POSIX")
def test_the_next_write_removes_what_a_killed_one_left(tmp_path, writer):
    target, other = tmp_path / "w.safetensors", tmp_path / "v.safetensors"
    target.write_bytes(b"old")
    for path in (target, other):
        process = writer(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert target.read_bytes() == b"old"
    left = [path for path in tmp_path.iterdir() if path.name.startswith(atomic.PREFIX)]
    assert len(left) == 2
    assert all(path.suffix == ".safetensors" for path in left)
    with atomic.replacing(target) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(atomic.PREFIX)]) == 1  # the other's


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_file_that_another_process_is_writing_is_left_to_it(tmp_path, writer):
    target = tmp_path / "w.safetensors"
    process = writer(target)
    with atomic.replacing(target) as temporary:
        temporary.write_bytes(b"first")
    assert target.read_bytes() == b"first"
    process.communicate(b"", timeout=60)
    assert process.returncode == 0
    assert target.read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5", "." + "x" * 100, ""])
def test_a_name_as_long_as_a_file_system_permits(tmp_path, suffix):
    target = tmp_path / ("n" * (255 - len(suffix)) + suffix)
    with atomic.replacing(target) as temporary:
        temporary.write_bytes(b"new")
        assert len(suffix) > 40 or temporary.name.endswith(suffix)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_not_replaced(tmp_path):
    pipe, folder = tmp_path / "pipe.safetensors", tmp_path / "folder.safetensors"
    os.mkfifo(pipe)
    folder.mkdir()
    link = tmp_path / "link.safetensors"
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(OSError, match=rf"{path.name}: expected a file, got something else"):
            convgru.write(WEIGHTS, path)
    with pytest.raises(IsADirectoryError, match=r"folder\.safetensors is a folder, expected a file"):
        convgru.write(WEIGHTS, folder)
    assert pipe.is_fifo()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_is_being_written_is_written_in_place(tmp_path):
    """The lock of the outer block is on the file that gets the name, and others leave it alone."""
    target = tmp_path / "w.safetensors"
    with atomic.replacing(target) as temporary:
        convgru.write(WEIGHTS, temporary)
        with atomic.replacing(target) as other:  # another writer of the same file
            other.write_bytes(b"other")
        assert convgru.read(temporary).equal(WEIGHTS)
    assert convgru.read(target).equal(WEIGHTS)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.skipif(atomic.fcntl is None, reason="no locks of POSIX here")
def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    for seed in (0, 1):
        convgru.write(convgru.init(SPEC, seed), tmp_path / "w.safetensors")
    assert convgru.read(tmp_path / "w.safetensors").equal(convgru.init(SPEC, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks for open files in /proc")
def test_where_there_are_no_locks_the_file_is_closed_before_it_gets_its_name(tmp_path, monkeypatch):
    """As Windows requires."""
    replace, opened = os.replace, []

    def look(source, target):
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        opened.extend(os.readlink(link) for link in links if os.path.exists(link))
        replace(source, target)

    monkeypatch.setattr(atomic, "fcntl", None)
    monkeypatch.setattr(os, "replace", look)
    convgru.write(WEIGHTS, tmp_path / "w.safetensors")
    assert opened
    assert not [path for path in opened if atomic.PREFIX in path]
    assert convgru.read(tmp_path / "w.safetensors").equal(WEIGHTS)
