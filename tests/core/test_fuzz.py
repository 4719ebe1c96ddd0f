"""Spoilt files by the hundred, from a fixed seed: safetensors, .npz, the Hub's, Keras'."""

import sys

import pytest
from support import assert_no_finds


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux' means")
def test_no_file_does_what_it_must_not():
    pytest.importorskip("h5py")
    assert_no_finds("safetensors,spec,npz,hub,keras,h5,weights.h5", 100)
