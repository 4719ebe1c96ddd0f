"""Configs of Keras models: which layers they describe, with which arguments, and which not."""

from __future__ import annotations

import json
import tracemalloc
import zipfile

import numpy as np
import pytest
from support.keras_files import KERNEL, h5, keras

import convgru
from convgru.formats import keras as keras_io


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def model(kind, name, *layers):
    return layer(kind, name, layers=list(layers))


LSTM = {
    "filters": 2,
    "kernel_size": [3, 3],
    "recurrent_activation": "hard_sigmoid",
    "activation": {"class_name": "function", "config": "relu"},
}


def test_a_config_is_joined_by_class_and_order_and_not_by_name(tmp_path):
    tree = model(
        "Functional",
        "m",
        layer("ConvLSTM2D", "conv_lstm2d_1", **{**LSTM, "filters": 1}),
        model("Sequential", "inner", layer("Conv2D", "c"), layer("ConvLSTM2D", "z", **{**LSTM, "filters": 2})),
        layer(
            "Bidirectional", "both", merge_mode="sum", layer=layer("ConvLSTM2D", "forward_a", **{**LSTM, "filters": 3})
        ),
        layer("ConvLSTM2D", "conv_lstm2d", **{**LSTM, "filters": 4}),
        layer("TimeDistributed", "t", layer=layer("ConvLSTM1D", "y", **{**LSTM, "filters": 5})),
    )
    groups = (
        "conv_lstm2d",
        "sequential/layers/conv_lstm2d",
        "bidirectional/forward_layer",
        "conv_lstm2d_1",
        "time_distributed/layer",
    )

    def build(file):
        for group in groups[1:]:
            file[f"layers/{group}/cell/vars/0"] = KERNEL

    (tmp_path / "w.keras").write_bytes(keras(h5(build), json.dumps(tree)))
    found = keras_io.contents(tmp_path / "w.keras").configs
    names = ("conv_lstm2d", "sequential/layers/conv_lstm2d", "bidirectional", "conv_lstm2d_1", "time_distributed/layer")
    assert {path: options["filters"] for path, options in found.items()} == {
        f"layers/{n}/": i + 1 for i, n in enumerate(names)
    }
    assert found["layers/bidirectional/"]["merge_mode"] == "sum"
    one = found["layers/conv_lstm2d/"]
    assert (one["kernel_size"], one["activation"], one["recurrent_activation"]) == ((3, 3), "relu", "hard_sigmoid")


@pytest.mark.parametrize(
    ("version", "function"),
    [("2.15.0", "hard_sigmoid_0.2"), ("2.3.1-tf", "hard_sigmoid_0.2"), ("3.15.1", "hard_sigmoid")],
)
def test_the_older_format_goes_by_names_and_tf_keras_has_another_hard_sigmoid(tmp_path, version, function):
    tree = model(
        "Functional", "m", layer("ConvLSTM2D", "b", **LSTM), model("Sequential", "a", layer("ConvLSTM2D", "c", **LSTM))
    )

    def build(file):
        file.attrs.update(model_config=json.dumps(tree), keras_version=np.bytes_(version))
        for path in ("b/b/kernel:0", "a/c/kernel:0"):
            file[f"model_weights/{path}"] = KERNEL
        file["optimizer_weights/adam/b/kernel"] = KERNEL

    (tmp_path / "w.h5").write_bytes(h5(build))
    found = keras_io.contents(tmp_path / "w.h5")
    assert found.aliases == {"model_weights/b/b/": "b/", "model_weights/a/c/": "a/c/"}
    assert set(found.configs) == {"b/", "a/c/"}
    assert {options["recurrent_activation"] for options in found.configs.values()} == {function}
    assert {name for name in found.arrays if "vars" not in name} == {"b/kernel", "a/c/kernel"}


def one_layer(**options):
    """A .keras file whose config describes its one layer so."""
    model = layer("Sequential", "m", layers=[layer("ConvLSTM2D", "a", filters=2, **options)])
    return keras(config=json.dumps(model))


def test_options_that_are_described_in_full(tmp_path):
    (tmp_path / "m.keras").write_bytes(one_layer(strides={"class_name": "__tuple__", "items": [2, 3]}))
    with pytest.warns(UserWarning, match="assumed"):
        assert convgru.read(tmp_path / "m.keras").spec.layers[0].stride == (2, 3)


@pytest.mark.parametrize("option", ["strides", "padding", "kernel_size", "use_bias"])
@pytest.mark.parametrize("value", [{"class_name": "Mine", "config": 2}, {"stride": 2}, {"class_name": "__tuple__"}])
def test_an_option_given_as_an_object_is_not_dropped(tmp_path, option, value):
    (tmp_path / "m.keras").write_bytes(one_layer(**{option: value}))
    with pytest.raises(convgru.WeightsError, match=rf"{option} of a layer expected a number, a name or a list"):
        convgru.read(tmp_path / "m.keras")


def test_a_long_config_is_not_even_unpacked(tmp_path):
    (tmp_path / "m.keras").write_bytes(keras(config="[" + "[]," * 2_000_000 + "0]", compression=zipfile.ZIP_DEFLATED))
    tracemalloc.start()
    with pytest.raises(convgru.WeightsError, match=r"config\.json expected at most 4194304 bytes, got 6000003"):
        convgru.read(tmp_path / "m.keras")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def both_ways(**backward):
    """A .keras file of one bidirectional layer, whose directions have arguments of their own."""
    options = {"filters": 2, "kernel_size": [3, 3], "activation": "tanh", "recurrent_activation": "sigmoid"}
    options |= {"strides": [1, 1], "padding": "same", "dilation_rate": [1, 1], "recurrent_dropout": 0.0}
    forward = layer("ConvLSTM2D", "forward_a", **options, go_backwards=False)
    other = layer("ConvLSTM2D", "backward_a", **{**options, "go_backwards": True, **backward})
    both = layer("Bidirectional", "a", layer=forward, backward_layer=other, merge_mode="concat")

    def build(file):
        del file["layers/conv_lstm2d"]
        for direction in ("forward_layer", "backward_layer"):
            for number, array in enumerate((KERNEL, np.ones((3, 3, 2, 8), np.float32), np.ones(8, np.float32))):
                file[f"layers/bidirectional/{direction}/cell/vars/{number}"] = array

    return keras(h5(build), json.dumps(model("Sequential", "m", both)))


def test_two_directions_with_the_same_arguments(tmp_path, recwarn):
    (tmp_path / "m.keras").write_bytes(both_ways())
    assert convgru.read(tmp_path / "m.keras").spec == convgru.network("lstm", 1, 2, bidirectional=True)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        ({"activation": "relu"}, "activation expected one of .*, got \"'tanh' forward and 'relu' backward\""),
        ({"padding": "valid"}, "padding expected .*'same' forward and 'valid' backward"),
        ({"kernel_size": [5, 5]}, r"kernel_size=.* the hint says '\(3, 3\) forward and \(5, 5\) backward'"),
    ],
)
def test_two_directions_with_arguments_of_their_own_are_no_network(tmp_path, backward, message):
    (tmp_path / "m.keras").write_bytes(both_ways(**backward))
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.read(tmp_path / "m.keras")
