"""Files of Keras reproduce Keras' numbers: goldens by Keras 3 against the float64 reference."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
from support import FOREIGN, assert_close, load_golden

import convgru
from convgru import files, reference

pytest.importorskip("h5py")
SUFFIXES = (".keras", ".h5", ".weights.h5")
NAMES = sorted(path.stem for path in FOREIGN.glob("keras_*.keras"))
SINGLE = [name for name in NAMES if not name.endswith(("_stack", "_sequential"))]
TOLD = ("padding", "strides", "dilation_rate", "recurrent_activation")
"""What a .weights.h5 does not hold, so that the caller says it."""


def hints_for(meta, suffix):
    return {key: value for key, value in meta["args"].items() if key in TOLD} if suffix == ".weights.h5" else {}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", SINGLE)
def test_a_layer(name, suffix):
    meta, _, arrays = load_golden(f"foreign/{name}")
    weights = convgru.read(FOREIGN / f"{name}{suffix}", **hints_for(meta, suffix))
    y, state = reference.run(weights, arrays["x"].astype(np.float64))
    assert_close(y, arrays["h"])
    if "h_n" in arrays:
        assert_close(state[0][0], arrays["h_n"])
        assert_close(state[0][1], arrays["c"])


NEW, OLD = ("layers/conv_lstm2d", "layers/conv_lstm2d_1"), "model_weights/"
STACKS = {
    "keras_convlstm2d_stack": {
        ".h5": (f"{OLD}zz_encoder", f"{OLD}aa_decoder/aa_decoder/"),
        ".keras": NEW,
        ".weights.h5": NEW,
    },
    "keras_convlstm2d_sequential": {".h5": (f"{OLD}conv_lstm2d", f"{OLD}last_one"), ".keras": NEW, ".weights.h5": NEW},
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", STACKS)
def test_two_layers_of_one_model(name, suffix):
    meta, _, arrays = load_golden(f"foreign/{name}")
    path, hints = FOREIGN / f"{name}{suffix}", hints_for(meta, suffix)
    with pytest.raises(convgru.WeightsError, match=r"several networks, choose one by prefix="):
        convgru.read(path, **hints)
    first, second = (convgru.read(path, prefix=prefix, **hints) for prefix in STACKS[name][suffix])
    y, _ = reference.run(first, arrays["x"].astype(np.float64))
    assert_close(y, arrays["h_l0"])
    _, state = reference.run(second, arrays.get("x_l1", arrays["h_l0"]).astype(np.float64))
    assert_close(state[0][0], arrays["h_n_l1"])


def test_the_layers_of_a_model_and_what_is_left_of_it():
    found = files.contents(FOREIGN / "keras_convlstm2d_stack.keras")
    seen = convgru.importers.survey(found.arrays, configs=found.configs)
    assert {match.prefix for match in seen.matches} == {"zz_encoder/", "aa_decoder/"}
    assert {name.rpartition("/vars/")[0] for name in seen.left} == {"batch_normalization", "conv2d"}


NAMES = {
    "keras_convlstm2d_stack": ("zz_encoder", "aa_decoder"),
    "keras_convlstm2d_sequential": ("conv_lstm2d", "last_one"),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", NAMES)
def test_layers_go_by_the_names_that_the_user_gave_them(name, suffix, recwarn):
    """Layers are found by the user's names, or by class and number as the file calls them.

    Either is accepted as a prefix; the file's own place is returned, for whoever writes there.
    """
    path = FOREIGN / f"{name}{suffix}"
    found = convgru.inspect(path)
    assert {each.prefix.strip("/") for each in found.networks} == set(NAMES[name])
    for user, stored in zip(NAMES[name], STACKS[name][suffix], strict=True):
        (network,) = convgru.inspect(path, prefix=user).networks
        assert network.prefix == f"{user}/"
        assert network.stored_at.startswith(stored)
        weights = convgru.read(path, prefix=user)
        for prefix in (f"{user}/", stored, network.stored_at):
            assert convgru.read(path, prefix=prefix).equal(weights)
    with pytest.raises(convgru.WeightsError) as error:
        convgru.read(path)
    assert all(f"'{user}/' (keras" in str(error.value) for user in NAMES[name])
    assert "layers/conv" not in str(error.value)


def test_a_callers_hint_wins_over_the_config(tmp_path):
    weights = convgru.read(FOREIGN / "keras_convlstm2d_same.keras", recurrent_activation="hard_sigmoid")
    assert weights.spec.layers[0].recurrent_activation == "hard_sigmoid"
    assert convgru.read(FOREIGN / "keras_convlstm2d_same.keras").spec.layers[0].recurrent_activation == "sigmoid"


def test_a_file_of_tf_keras_2_has_the_other_hard_sigmoid(tmp_path):
    shutil.copy(FOREIGN / "keras_convlstm2d_hardsigmoid.h5", tmp_path / "w.h5")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        file.attrs["keras_version"] = "2.15.0"
    assert convgru.read(tmp_path / "w.h5").spec.layers[0].recurrent_activation == "hard_sigmoid_0.2"


def test_a_deflated_archive_is_read_too(tmp_path):
    name = "keras_convlstm1d_same.keras"
    with zipfile.ZipFile(FOREIGN / name) as old, zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    assert convgru.read(tmp_path / name).equal(convgru.read(FOREIGN / name))
