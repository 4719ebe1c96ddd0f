"""Python blocks that need Keras run as pasted, in order, on files that a reader has."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported; nothing else in this environment uses it

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import torch
from support import pages
from torch import nn

import convgru


def raft() -> nn.Module:
    """A model of which the recurrent part is RAFT's, under its names."""
    gru, update_block, module, model = nn.Module(), nn.Module(), nn.Module(), nn.Module()
    for gate in "rzq":
        for number, kernel in enumerate(((1, 5), (5, 1)), 1):
            gru.add_module(f"conv{gate}{number}", nn.Conv2d(12, 4, kernel))
    update_block.gru, module.update_block, model.module = gru, update_block, module
    return model


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", pages.ROOMS["keras"])
def test_the_blocks_of_a_page(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    lstm, gru = convgru.network("lstm", 3, 16), convgru.network("gru", 3, [16, 32], stride=2)
    torch.save(convgru.torch.ConvLSTM(3, 8).state_dict(), "old.pt")
    np.savez("net.npz", **convgru.init(gru).arrays)
    os.mkdir("folder")
    convgru.write(convgru.init(lstm), "folder/model.safetensors")
    flow = raft()
    torch.save(flow.state_dict(), "raft.pth")
    other = convgru.init(convgru.read("raft.pth", prefix="module.update_block.gru").spec, seed=1)
    layers = [keras.layers.ConvLSTM2D(4, 3, return_sequences=True, name=name) for name in ("encoder", "decoder")]
    keras.Sequential([keras.Input((5, 9, 9, 2)), *layers]).save("model.keras")
    model = SimpleNamespace(update_block=SimpleNamespace())
    names = pages.run(page, {"raft": flow, "model": model, "other_weights": other})
    if page != "docs/coming-from.md":
        return
    assert convgru.extract(model.update_block.gru).equal(other)
    written = names["decoder"].arrays["layers.0.fwd.bias"]
    assert np.array_equal(convgru.read("decoder.weights.h5", padding="valid").arrays["layers.0.fwd.bias"], written)
