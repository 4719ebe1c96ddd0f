"""Networks in files that hold much else, hints of every kind, and files that mean harm."""

from __future__ import annotations

import time

import numpy as np
import pytest
from support import FOREIGN, load_golden, random_weights

import convgru
from convgru import importers

GOLDENS = sorted(FOREIGN.glob("*.npz"))
SEVERAL = {"direct_convgru": {"layer": 1}, "e2vid_model": {"prefix": "unetrecurrent.encoders.1"}}
SEVERAL["ensemble_convgru_model"] = {"prefix": "model.decoder.blocks.0.convgru"}
SEVERAL |= {
    "keras_convlstm2d_stack": {"prefix": "zz_encoder"},
    "keras_convlstm2d_sequential": {"prefix": "sequential/conv_lstm2d"},
}
REFUSED = ("droid_convgru", "direct_convgru_instnorm", "openstl_convlstm_layernorm")
READABLE = [path for path in GOLDENS if path.stem not in REFUSED]


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.stem)
def test_the_originals_constructor_arguments_are_hints(path):
    """As Python has them and as JSON has them: lists for tuples, dicts for nested arguments."""
    meta, arrays, _ = load_golden(f"foreign/{path.stem}")
    hints = {"prefix": meta["prefix"], **meta["args"], **SEVERAL.get(path.stem, {})}
    expected = convgru.adopt(arrays, **hints)
    module = {f"net.module.{name}" if "/" not in name else f"net/{name}": array for name, array in arrays.items()}
    del hints["prefix"]
    if path.stem not in SEVERAL:
        assert convgru.adopt(module, **hints).equal(expected)


SIZES = (
    "filters",
    "features",
    "output_channels",
    "hidden_size",
    "hidden_dim",
    "num_filter",
    "num_features",
    "num_hidden",
)
SIZES = (
    *SIZES,
    "channels",
    "out_channels",
    "hidden_channels",
    "hidden_sizes",
    "input_channels",
    "kernel_size",
    "use_bias",
)


@pytest.mark.parametrize("path", [p for p in READABLE if p.stem not in SEVERAL], ids=lambda path: path.stem)
def test_a_size_that_the_arrays_contradict_is_an_error(path):
    meta, arrays, _ = load_golden(f"foreign/{path.stem}")
    sizes = [
        name for name in SIZES if name in meta["args"] and not (name == "kernel_size" and "e2vid" in meta["system"])
    ]
    assert sizes
    for name in sizes:
        wrong = (not meta["args"][name]) if name == "use_bias" else 77
        with pytest.raises(convgru.WeightsError, match=f"the arrays say {name}="):
            convgru.adopt(arrays, **{**meta["args"], name: wrong}, prefix=meta["prefix"])


def _networks(count):
    one = importers.export(random_weights(convgru.network("lstm", 1, 2)), "convlstm_pytorch")
    return {f"part{index}.{name}": array for index in range(count) for name, array in one.items()}


def test_several_networks_are_listed_and_chosen_with_or_without_the_separator():
    arrays = {**_networks(3), "head.weight": np.ones((1, 2, 1, 1)), "part1.other.bias": np.ones(3)}
    with pytest.raises(
        convgru.WeightsError, match=r"several networks, choose one by prefix=: 'part0\.' \(convlstm_pytorch\), 'part1"
    ):
        convgru.adopt(arrays)
    assert convgru.adopt(arrays, prefix="part1").equal(convgru.adopt(arrays, prefix="part1."))
    found = importers.survey(arrays)
    assert [each.prefix for each in found.matches] == ["part0.", "part1.", "part2."]
    assert found.left == ("head.weight", "part1.other.bias")
    with pytest.raises(convgru.WeightsError, match="no array lies below the prefix"):
        convgru.adopt(arrays, prefix="part")


def test_a_hint_does_not_choose_among_several_networks():
    """It says what a network is, and would leave out the others in silence."""
    arrays = _networks(2)
    wide = importers.export(random_weights(convgru.network("lstm", 1, 3)), "convlstm_pytorch")
    strided = importers.export(random_weights(convgru.network("gru", 1, 2, reset="after")), "convolutional_rnn")
    arrays |= {f"wide.{name}": array for name, array in wide.items()}
    arrays |= {f"strided.{name}": array for name, array in strided.items()}
    for hints in ({"hidden_dim": 3}, {"stride": 2}):
        with pytest.raises(convgru.WeightsError, match=r"choose one by prefix=: 'part0\.' .*'strided\.' .*'wide\.'"):
            convgru.adopt(arrays, **hints)
    assert convgru.adopt(arrays, prefix="wide", hidden_dim=3).spec == convgru.network("lstm", 1, 3)
    assert convgru.adopt(arrays, prefix="strided", stride=2).spec.layers[0].stride == (2, 2)
    with pytest.raises(convgru.WeightsError, match="takes no hint 'stride'"):
        convgru.adopt(arrays, prefix="part0", stride=2)
    assert convgru.adopt(strided, groups=1, stride=2).spec.layers[0].stride == (2, 2)  # the same arrays, one network


PARTS = {
    "hzzone": {f"Wc{gate}": np.ones((1, 2, 5, 5)) for gate in "ifo"},
    "linen": {f"{part}/bias": np.ones(8) for part in ("ih", "hh")},
    "peephole": {f"bias_p{gate}_l0": np.ones(2) for gate in "ifo"},
}


@pytest.mark.parametrize("name", PARTS)
def test_what_may_be_missing_is_missing_as_a_whole(name):
    spec = {"hzzone": {}, "linen": {}, "peephole": {"peephole": "conv"}}[name]
    layout = "convolutional_rnn.peephole" if name == "peephole" else name
    complete = {**importers.export(random_weights(convgru.network("lstm", 1, 2, **spec)), layout), **PARTS[name]}
    convgru.adopt(complete)
    for missing in PARTS[name]:
        with pytest.raises(convgru.WeightsError, match=f"optional arrays are incomplete: missing '.*{missing[:3]}"):
            convgru.adopt({key: array for key, array in complete.items() if key != missing})


def test_two_arrays_of_one_name_are_refused():
    arrays = importers.export(random_weights(convgru.network("lstm", 2, 3)), "linen")
    with pytest.raises(convgru.WeightsError, match="two of 'ih/kernel'"):
        convgru.adopt({**arrays, "ih": {"kernel": arrays["ih/kernel"]}})


def test_a_damaged_network_is_not_taken_for_a_smaller_one_that_is_whole():
    arrays = importers.export(random_weights(convgru.network("gru", 4, [4, 4])), "pytorch_convgru")
    for name in arrays:
        less = {key: array for key, array in arrays.items() if key != name}
        with pytest.raises(convgru.WeightsError, match="is missing"):
            convgru.adopt(less)
    both = importers.export(random_weights(convgru.network("lstm", 2, 3, bidirectional=True)), "linen.both")
    for name in [key for key in both if "kernel" in key]:
        with pytest.raises(convgru.WeightsError, match="is missing"):
            convgru.adopt({key: array for key, array in both.items() if key != name})


def test_dicts_in_dicts_are_paths():
    weights = random_weights(convgru.network("lstm", 2, 3))
    flat = importers.export(weights, "linen")
    nested = {
        "params": {
            "cell": {part: {leaf: flat[f"{part}/{leaf}"] for leaf in ("kernel", "bias")} for part in ("ih", "hh")}
        }
    }
    assert convgru.adopt(nested, prefix="params").equal(convgru.adopt(flat))
    deep = {}
    for _ in range(2000):
        deep = {"a": deep}
    with pytest.raises(convgru.WeightsError, match="at most 64 deep"):
        convgru.adopt(deep)


def test_a_projection_is_refused_with_the_reason():
    arrays = {"weight_ih_l0": np.ones((16, 3)), "weight_hh_l0": np.ones((16, 2)), "weight_hr_l0": np.ones((2, 4))}
    with pytest.raises(convgru.WeightsError, match="proj_size, from 'weight_hr_l0': its output is a projection"):
        convgru.adopt(arrays)


@pytest.mark.parametrize(
    "hints",
    [
        {"go_backwards": True},
        {"go_backwards": [[1]]},
        {"strides": [[1]]},
        {"kernel_size": np.array([3, 5])},
        {"padding": {"padding": "full"}},
        {"activation": "swish"},
        {"activation": "leaky_relu"},
        {"activation": len},
        {"use_bias": "x"},
        {"filters": None},
    ],
)
def test_hints_of_any_kind_are_weights_errors(hints):
    arrays = importers.export(random_weights(convgru.network("lstm", 2, 3)), "keras.named")
    with pytest.raises(convgru.WeightsError, match=r"keras\.named .*(the original runs with|expected|the arrays say)"):
        convgru.adopt(arrays, **hints)


SMALL = np.ones((4, 2, 3, 3))
HOSTILE = {
    "many names": {f"layer{index}.weight": SMALL for index in range(100_000)},
    "modules in modules": {"m." * index + "reset_gate.weight": SMALL for index in range(1000)},
    "long names": {"x" * 100_000 + f".{index}.conv.weight": SMALL for index in range(50)},
    "separators": {"." * 20_000 + f"{index}.convz.weight": SMALL for index in range(50)},
    "words": {"i2h_" * 2000 + f"{index}_i2h_weight": SMALL for index in range(50)},
    "damaged networks": {f"n{index}.convz.weight": SMALL for index in range(5000)},
    "a number of 5000 digits": {f"cell_list.{'9' * 5000}.conv.weight": SMALL},
    "whole and damaged": {
        **{f"a{index}.Gates.weight": SMALL for index in range(2000)},
        **{f"b{index}.convz.weight": SMALL for index in range(2000)},
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_means_harm_is_refused_soon_and_in_few_words(name):
    started = time.perf_counter()
    with pytest.raises(convgru.WeightsError) as caught:
        convgru.adopt(HOSTILE[name])
    assert time.perf_counter() - started < 20
    assert len(str(caught.value)) < 20_000


def test_numbers_in_the_other_byte_order():
    arrays = importers.export(random_weights(convgru.network("lstm", 2, 3)), "convlstm_pytorch")
    swapped = {name: array.astype(array.dtype.newbyteorder("S")) for name, array in arrays.items()}
    assert convgru.adopt(swapped).equal(convgru.adopt(arrays))
