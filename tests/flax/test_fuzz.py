"""Spoilt files by the hundred, from a fixed seed (tests/fuzz): msgpack files, folders of orbax."""

import sys

import pytest
from support import assert_no_finds


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux' means")
def test_no_file_does_what_it_must_not():
    pytest.importorskip("orbax.checkpoint")
    assert_no_finds("msgpack,orbax", 150)
