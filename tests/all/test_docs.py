"""The Python blocks of README and of the site's first page run as pasted, in order."""

from __future__ import annotations

import json

import pytest
from support import pages, random_weights
from support.keras_files import h5, keras

import convgru

INSTALLED = [name for name, found in convgru.registry.available().items() if not isinstance(found, str)]
ENCODER = {"name": "encoder", "filters": 2, "kernel_size": [3, 3]}


def files_of_a_reader() -> None:
    """In the current folder: what README reads."""
    import torch

    from convgru.torch.compat import pytorch_convgru

    def named(file):
        file.require_group("layers/conv_lstm2d/vars").attrs["name"] = "encoder"

    raft = random_weights(convgru.network("gru", 8, 4, updates=((1, 5), (5, 1))), dtype="float32")
    convgru.write(raft, "raft.pth", layout="raft_sep", prefix="module.update_block.gru")
    tree = {"class_name": "Sequential", "config": {"layers": [{"class_name": "ConvLSTM2D", "config": ENCODER}]}}
    with open("old_model.keras", "wb") as file:
        file.write(keras(h5(named), json.dumps(tree)))
    torch.save(pytorch_convgru.ConvGRU(8, [32, 64, 16], [3, 5, 3], 3).state_dict(), "old.pt")


@pytest.mark.skipif(len(INSTALLED) < 4, reason="needs every framework")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", pages.ROOMS["all"])
def test_the_blocks_of_a_page(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)  # as torchrun does
    monkeypatch.setenv("MASTER_PORT", "0")
    from convgru.torch.compat import convolutional_rnn

    pages.run(
        page, {"state_dict": convolutional_rnn.Conv2dGRU(3, 5, 3, stride=2).state_dict()}, files=files_of_a_reader
    )
