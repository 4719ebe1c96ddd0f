"""Spoilt files by the hundred, from a fixed seed (tests/fuzz): MindSpore's checkpoints."""

import sys

import pytest
from support import assert_no_finds


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux' means")
def test_no_file_does_what_it_must_not():
    assert_no_finds("ckpt", 200)
