"""Folders of the Hugging Face Hub: the config.json beside the weights keeps the spec."""

from __future__ import annotations

import json

import numpy as np
import pytest

import convgru
from convgru.spec import to_json

GRU = convgru.network("gru", 2, [3, 4], ndim=1, stride=[2, 1], dilation=2, activation="relu", padding="valid")
ARGUMENTS = {"in_channels": 2, "hidden_channels": [3, 4], "kernel_size": 3, "num_layers": None}
OPTIONS = {
    "recurrent_kernel_size": None,
    "stride": [2, 1],
    "recurrent_stride": 1,
    "dilation": 2,
    "recurrent_dilation": None,
    "groups": 1,
    "padding": "valid",
    "padding_mode": "zeros",
    "bias": True,
    "reset": "before",
    "activation": "relu",
    "recurrent_activation": "sigmoid",
    "norm": None,
    "updates": [],
    "bidirectional": None,
    "merge": "concat",
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "zoneout": 0.0,
    "output_size": None,
    "ndim": 1,
    "batch_first": True,
    "device": None,
    "dtype": None,
}
CONFIGS = {
    "constructor arguments": {**ARGUMENTS, **OPTIONS},
    "spec": {"convgru": json.loads(to_json(GRU))},
    "spec as text": {"convgru": to_json(GRU), "other": [1]},
    "as in our own metadata": {"convgru": {"format": 1, "spec": json.loads(to_json(GRU))}},
    "spec by its own key": {"spec": json.loads(to_json(GRU)), "batch_first": True},
    "spec and nothing else": json.loads(to_json(GRU)),
}


def save(folder, arrays, config, name="model.safetensors"):
    from safetensors.numpy import save_file

    save_file(dict(arrays), folder / name, {"format": "pt"})
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_folder_keeps_its_spec(tmp_path, kind, recwarn):
    weights = convgru.init(GRU)
    save(tmp_path, weights.arrays, CONFIGS[kind])
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert convgru.read(path).equal(weights)
        assert convgru.inspect(path).weights.equal(weights)
        assert not convgru.inspect(path).networks[0].assumed
    assert not recwarn.list
    assert convgru.read(tmp_path, spec=GRU).equal(weights)


@pytest.mark.parametrize(
    ("spec", "config"),
    [
        (
            convgru.forecaster("lstm", 1, [2, 3], patch=(1, 2), decoder=True, residual=False),
            {
                "cell": "lstm",
                "channels": 1,
                "hidden_channels": [2, 3],
                "patch": [1, 2],
                "decoder": True,
                "residual": False,
            },
        ),
        (
            convgru.network("lstm", 2, 3, (3, 5), stride=(1, 2), padding=((1, 2), 0), output_size=(8, 6)),
            {
                **ARGUMENTS,
                "hidden_channels": 3,
                "kernel_size": [3, 5],
                "stride": [1, 2],
                "padding": [[1, 2], 0],
                "output_size": [8, 6],
            },
        ),
        (convgru.network("gru", 2, [3, 4], (3, 5)), {**ARGUMENTS, "kernel_size": [3, 5], "stride": [1, 1]}),
        (convgru.network("lstm", 2, 4, bidirectional=True, groups=2), {**ARGUMENTS, "hidden_channels": 4, "groups": 2}),
    ],
)
def test_arguments_that_json_writes_otherwise(tmp_path, spec, config):
    """A tuple is a list there; what a config does not say is assumed, and said."""
    weights = convgru.init(spec)
    save(tmp_path, weights.arrays, config)
    with pytest.warns(UserWarning, match="assumed"):
        assert convgru.read(tmp_path).equal(weights)


def test_a_list_that_may_be_for_layers_or_for_dimensions_is_asked_for(tmp_path):
    spec = convgru.network("gru", 2, [3, 4], stride=[2, 1])
    weights = convgru.init(spec)
    save(tmp_path, weights.arrays, {**ARGUMENTS, **OPTIONS, "ndim": 2, "stride": [2, 1], "padding": "same"})
    with pytest.raises(
        convgru.WeightsError, match=r"stride=\[2, 1\] in config\.json is for each layer or for each dim"
    ):
        convgru.read(tmp_path)
    found = convgru.read(tmp_path, stride=[2, 1], dilation=1, activation="tanh")
    assert found.equal(weights)


HOSTILE = {
    "not JSON": ("{", "expected JSON text"),
    "a key twice": ('{"convgru": 1, "convgru": 2}', "twice"),
    "too long": (" " * (1 << 20) + "{}", "at most 1048576 characters"),
    "too deep": ("[" * 40 + "]" * 40, "32 levels"),
    "not UTF-8": (b"\xff\xfe", "utf-8"),
    "a spec that is none": ({"convgru": {"kind": "network"}}, "spec"),
    "a spec of the future": ({"convgru": json.loads(to_json(GRU)) | {"colour": 1}}, "colour"),
    "arguments that are none": ({**ARGUMENTS, "activation": "swish"}, "swish"),
    "arguments of another network": ({**ARGUMENTS, "hidden_channels": [3, 5]}, "expected shape"),
    "the spec of another network": ({"convgru": json.loads(to_json(convgru.network("gru", 2, 3)))}, "unexpected"),
    "lists of nothing": ({**ARGUMENTS, "stride": []}, "stride"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_configs_are_weights_errors(tmp_path, kind):
    config, message = HOSTILE[kind]
    save(tmp_path, convgru.init(GRU).arrays, config if not isinstance(config, bytes) else "")
    if isinstance(config, bytes):
        (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.read(tmp_path)


@pytest.mark.parametrize("config", [{"architectures": ["Bert"]}, [], {"in_channels": 3}, {"convgru": 3}])
def test_a_config_of_something_else_is_left_alone(tmp_path, config):
    save(tmp_path, convgru.init(GRU).arrays, config)
    with pytest.raises(convgru.WeightsError, match="come without the spec"):
        convgru.read(tmp_path)


def test_a_config_beside_a_network_of_another_system_is_not_even_read(tmp_path):
    arrays = convgru.importers.export(convgru.init(convgru.network("lstm", 2, 3)), "convlstm_pytorch")
    save(tmp_path, arrays, "{")
    assert convgru.read(tmp_path).spec == convgru.network("lstm", 2, 3)


def test_a_network_inside_a_model_and_the_models_own_arguments(tmp_path):
    """They are those of the class around it: of our network they say nothing."""
    arrays = {f"rnn.{name}": array for name, array in convgru.init(GRU).arrays.items()} | {"head.weight": np.ones(3)}
    save(tmp_path, arrays, {**ARGUMENTS, "stride": 7})
    with pytest.warns(UserWarning, match="stride=1"):
        assert convgru.read(tmp_path).spec.layers[0].stride == (1,)
    save(tmp_path, arrays, {"convgru": json.loads(to_json(GRU))})
    assert convgru.read(tmp_path).spec == GRU


@pytest.mark.filterwarnings(
    "ignore:.*assumed:UserWarning"
)  # as far as the constructor leaves arguments out of the config
def test_what_save_pretrained_writes(tmp_path):
    pytest.importorskip("torch")
    hub = pytest.importorskip("huggingface_hub")
    import convgru.torch

    class Net(convgru.torch.ConvLSTM, hub.PyTorchModelHubMixin):
        pass

    net = Net(2, [3, 4, 3], (3, 5), stride=(2, 1), peephole="hadamard", activation="relu")
    net.save_pretrained(tmp_path)
    assert convgru.read(tmp_path).equal(convgru.extract(net))


@pytest.mark.parametrize("updates", [(), ((1, 3), (3, 1))])
def test_a_bare_cells_folder_is_the_network_of_that_layer(tmp_path, updates):
    spec = convgru.network("lstm", 2, 4, ndim=2, updates=updates)
    weights, start = convgru.init(spec), "layers.0.fwd."
    arrays = {name.removeprefix(start): array for name, array in weights.arrays.items()}
    config = {"in_channels": 2, "hidden_channels": 4, **OPTIONS, "ndim": 2, "stride": 1, "dilation": 1}
    config |= {"padding": "same", "activation": "tanh", "reset": None, "updates": updates}
    save(tmp_path, arrays, config)
    assert convgru.read(tmp_path).equal(weights)
    assert convgru.inspect(tmp_path).weights.equal(weights)


NO_CHECKPOINT = """
import sys
import convgru
try:
    convgru.read("folder")
except convgru.WeightsError as error:
    print(error, [name for name in ("flax", "jax", "orbax") if name in sys.modules])
"""


def test_a_folder_that_is_no_checkpoint_imports_no_framework(python, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors.index.json").write_text("{}")
    shown = python(NO_CHECKPOINT).stdout
    assert "folder: not a folder of orbax or of the Hugging Face Hub: expected one of _METADATA" in shown
    assert "model.safetensors.index.json says that the weights are in several files" in shown
    assert shown.endswith("[]\n")
