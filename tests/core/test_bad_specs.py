"""Specs that are none: the message names the argument, what was expected and what came."""

from __future__ import annotations

import re

import pytest

import convgru

SPEC_ARGUMENTS = [
    # cell and sizes
    (("mlp", 1, 2), {}, ValueError, "cell expected one of 'gru', 'lstm', 'rnn', got 'mlp'"),
    ((None, 1, 2), {}, ValueError, "cell expected one of 'gru', 'lstm', 'rnn', got None"),
    (("gru", 0, 2), {}, ValueError, "ConvGRU in_channels expected a positive integer, got 0"),
    (("gru", 1.0, 2), {}, ValueError, "ConvGRU in_channels expected a positive integer, got 1.0"),
    (("gru", "3", 2), {}, ValueError, "ConvGRU in_channels expected a positive integer, got '3'"),
    (
        ("gru", 1, (8, 4)),
        {},
        ValueError,
        "ConvGRU hidden_channels expected a number, or a list with one for each layer, got (8, 4)",
    ),
    (("lstm", 1, -2), {}, ValueError, "ConvLSTM hidden_channels expected a positive integer, got -2"),
    (("lstm", 1, True), {}, ValueError, "ConvLSTM hidden_channels expected a positive integer, got True"),
    (("rnn", 1, [2, 0]), {}, ValueError, "ConvRNN hidden_channels expected a positive integer, got 0"),
    (("gru", 1, 2), {"ndim": 4}, ValueError, "ndim expected one of 1, 2, 3, got 4"),
    (("gru", 1, 2), {"ndim": 2.0}, ValueError, "ndim expected one of 1, 2, 3, got 2.0"),
    (("gru", 1, 2), {"ndim": True}, ValueError, "ndim expected one of 1, 2, 3, got True"),
    # kernels and dilation
    (("gru", 1, 2, 0), {}, ValueError, "ConvGRU kernel_size expected a positive integer, got 0"),
    (("gru", 1, 2, 2.5), {}, ValueError, "ConvGRU kernel_size expected a number or a tuple of 2 (ndim), got 2.5"),
    (("gru", 1, 2, (3,)), {}, ValueError, "ConvGRU kernel_size expected a tuple of 2 (ndim), got (3,)"),
    (("gru", 1, 2, (3, 3, 3)), {}, ValueError, "ConvGRU kernel_size expected a tuple of 2 (ndim), got (3, 3, 3)"),
    (("gru", 1, 2, (3, -1)), {}, ValueError, "ConvGRU kernel_size expected a positive integer, got -1"),
    (("gru", 1, 2, "3"), {}, ValueError, "ConvGRU kernel_size expected a number or a tuple of 2 (ndim), got '3'"),
    (
        ("gru", 1, 2),
        {"recurrent_kernel_size": (3, 0)},
        ValueError,
        "ConvGRU recurrent_kernel_size expected a positive integer, got 0",
    ),
    (("gru", 1, 2), {"dilation": 0}, ValueError, "ConvGRU dilation expected a positive integer, got 0"),
    (
        ("gru", 1, 2),
        {"recurrent_dilation": (1,)},
        ValueError,
        "ConvGRU recurrent_dilation expected a tuple of 2 (ndim), got (1,)",
    ),
    # padding
    (
        ("gru", 1, 2),
        {"padding": "full"},
        ValueError,
        "ConvGRU padding expected one of 'same', 'valid', 'preserve', got 'full'",
    ),
    (
        ("gru", 1, 2),
        {"padding": -1},
        ValueError,
        "ConvGRU padding expected 'same', 'valid', 'preserve', an integer >= 0, or a tuple of 2 with one, or a (low, high) pair",
    ),
    (("gru", 1, 2), {"padding": (1,)}, ValueError, "for each dimension, got (1,)"),
    (("gru", 1, 2), {"padding": ((1, 2, 3), 1)}, ValueError, "for each dimension, got ((1, 2, 3), 1)"),
    (("gru", 1, 2), {"padding": None}, ValueError, "got None"),
    # layers
    (
        ("gru", 1, [2, 3], 3, 3),
        {},
        ValueError,
        "ConvGRU hidden_channels expected a list of 3 (one for each layer), got 2: [2, 3]",
    ),
    (
        ("gru", 1, [2, 3], [3, 3, 3]),
        {},
        ValueError,
        "ConvGRU kernel_size expected a list of 2 (one for each layer), got 3",
    ),
    (
        ("gru", 3, 16, [3, 5]),
        {},
        ValueError,
        "ConvGRU kernel_size expected a list of 1 (one for each layer), got 2: [3, 5]; "
        "a list of hidden_channels, or num_layers, says how many layers there are",
    ),
    (("lstm", 3, 16), {"stride": [1, 2]}, ValueError, "ConvLSTM stride expected a list of 1 (one for each layer)"),
    *(
        (
            ("gru", 1, 2, size),
            {"updates": ((1, 5), (5, 1))},
            ValueError,
            f"ConvGRU expected no kernel_size beside updates, which are kernel sizes, got kernel_size={size}",
        )
        for size in (5, 3)
    ),
    (
        ("gru", 1, 2),
        {"updates": ((1, 5), (5, 1)), "recurrent_kernel_size": 3},
        ValueError,
        "ConvGRU expected no recurrent_kernel_size beside updates, which are kernel sizes, got recurrent_kernel_size=3",
    ),
    (("gru", 1, []), {}, ValueError, "ConvGRU hidden_channels expected a number, or a list with one for each"),
    (("gru", 1, 2, 3, 0), {}, ValueError, "ConvGRU num_layers expected a positive integer, got 0"),
    (("gru", 1, 2, 3, 1.5), {}, ValueError, "ConvGRU num_layers expected a positive integer, got 1.5"),
    # the cells' own
    (("gru", 1, 2), {"reset": "middle"}, ValueError, "ConvGRU reset expected one of 'before', 'after', got 'middle'"),
    (("lstm", 1, 2), {"reset": "after"}, ValueError, "ConvLSTM has no reset gate: reset expected None, got 'after'"),
    (
        ("rnn", 1, 2),
        {"activation": "swish"},
        ValueError,
        "ConvRNN activation expected one of 'tanh', 'relu', 'leaky_relu', 'sigmoid', 'hard_sigmoid', 'hard_sigmoid_0.2', got 'swish'",
    ),
    (("gru", 1, 2), {"activation": None}, ValueError, "ConvGRU activation expected one of"),
    (("lstm", 1, 2), {"recurrent_activation": "softmax"}, ValueError, "ConvLSTM recurrent_activation expected one of"),
    # strides and groups
    (("gru", 1, 2), {"stride": 0}, ValueError, "ConvGRU stride expected a positive integer, got 0"),
    (("gru", 1, 2), {"stride": (2,)}, ValueError, "ConvGRU stride expected a tuple of 2 (ndim), got (2,)"),
    (("gru", 1, 2), {"recurrent_stride": 1.5}, ValueError, "recurrent_stride expected a number or a tuple of 2"),
    (
        ("gru", 1, [2, 2]),
        {"stride": [2]},
        ValueError,
        "ConvGRU stride expected a list of 2 (one for each layer), got 1",
    ),
    (("gru", 2, 2), {"groups": 0}, ValueError, "ConvGRU groups expected a positive integer, got 0"),
    (("gru", 2, 2), {"groups": True}, ValueError, "ConvGRU groups expected a positive integer, got True"),
    (("gru", 3, 2), {"groups": 2}, ValueError, "ConvGRU in_channels expected a multiple of groups (2), got 3"),
    (("lstm", 2, 3), {"groups": 2}, ValueError, "ConvLSTM hidden_channels expected a multiple of groups (2), got 3"),
    # padding modes
    (
        ("gru", 1, 2),
        {"padding_mode": "mirror"},
        ValueError,
        "ConvGRU padding_mode expected one of 'zeros', 'reflect', 'replicate', 'circular', got 'mirror'",
    ),
    # peepholes
    (("lstm", 1, 2), {"peephole": True}, ValueError, "ConvLSTM peephole expected one of 'hadamard', 'conv', got True"),
    (
        ("gru", 1, 2),
        {"peephole": "conv"},
        ValueError,
        "ConvGRU has no cell state to peep at: peephole expected None, got 'conv'",
    ),
    (
        ("lstm", 1, 2),
        {"peephole": "conv", "state_size": 4},
        ValueError,
        "ConvLSTM state_size belongs to peephole 'hadamard', got (4, 4) with 'conv'",
    ),
    (("gru", 1, 2), {"state_size": (4, 4)}, ValueError, "ConvGRU state_size belongs to peephole 'hadamard'"),
    (
        ("lstm", 1, 2),
        {"peephole": "hadamard", "state_size": (4,)},
        ValueError,
        "ConvLSTM state_size expected a tuple of 2 (ndim), got (4,)",
    ),
    # norms
    (("gru", 1, 2), {"norm": "layer"}, ValueError, "ConvGRU norm expected Norm(groups) with a tuple of 2 (rz, n), got"),
    (("lstm", 1, 2), {"norm": (1, 1)}, ValueError, "ConvLSTM norm expected Norm(groups) with a tuple of 1 (ifgo), got"),
    (("gru", 1, 2), {"norm": 0}, ValueError, "ConvGRU norm groups of rz expected a positive integer, got 0"),
    (("gru", 1, 3), {"norm": 2}, ValueError, "ConvGRU norm groups of n expected a divisor of 3 channels, got 2"),
    (("rnn", 1, 2), {"norm": convgru.spec.Norm((1,), 0.0)}, ValueError, "ConvRNN norm eps expected a number in (0, 1)"),
    # updates
    (
        ("gru", 1, 2),
        {"updates": (3,)},
        ValueError,
        "ConvGRU updates expected () or a tuple of at least two kernel sizes",
    ),
    (("gru", 1, 2), {"updates": [3, 5]}, ValueError, "ConvGRU updates expected () or a tuple of at least two"),
    (("gru", 1, 2), {"updates": ((1, 5), (5,))}, ValueError, "ConvGRU updates expected a tuple of 2 (ndim), got (5,)"),
    (
        ("gru", 1, 2),
        {"updates": (3, 5), "padding": "valid"},
        ValueError,
        "ConvGRU updates expected padding 'same', for all work on one state, got 'valid'",
    ),
    # the network's own
    (
        ("gru", 1, 2),
        {"bidirectional": "both"},
        ValueError,
        "ConvGRU bidirectional expected one of None, 'layer', 'stack', got 'both'",
    ),
    (("gru", 1, 2), {"bidirectional": 1}, ValueError, "ConvGRU bidirectional expected one of"),
    (
        ("gru", 1, 2),
        {"bidirectional": True, "merge": "max"},
        ValueError,
        "ConvGRU merge expected one of 'concat', 'sum', 'mean', 'mul', got 'max'",
    ),
    (("gru", 1, 2), {"dropout": 1.0}, ValueError, "ConvGRU dropout expected a probability in [0, 1), got 1.0"),
    (("gru", 1, 2), {"dropout": -0.1}, ValueError, "ConvGRU dropout expected a probability in [0, 1), got -0.1"),
    (("gru", 1, 2), {"recurrent_dropout": "0.5"}, ValueError, "ConvGRU recurrent_dropout expected a probability"),
    (("lstm", 1, 2), {"zoneout": True}, ValueError, "ConvLSTM zoneout expected a probability in [0, 1), got True"),
    (("gru", 1, 2), {"output_size": 0}, ValueError, "ConvGRU output_size expected a positive integer, got 0"),
    (("gru", 1, 2), {"output_size": (3,)}, ValueError, "ConvGRU output_size expected a tuple of 2 (ndim), got (3,)"),
    (("gru", 1, 2), {"bias": 1}, TypeError, "ConvGRU bias expected True or False, got 1"),
    (("gru", 1, 2), {"colour": "red"}, TypeError, "colour"),
    # more than any network has
    (("gru", 1, 2, 3, 2**31 - 1), {}, ValueError, "ConvGRU num_layers expected at most 10000, got 2147483647"),
    (("gru", 1, 2), {"updates": (3,) * 101}, ValueError, "ConvGRU updates expected at most 100 kernel sizes, got 101"),
]


@pytest.mark.parametrize(("arguments", "options", "kind", "message"), SPEC_ARGUMENTS)
def test_network(arguments, options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        convgru.network(*arguments, **options)


SMALLER = convgru.network("gru", 1, 3)
FORECASTER_ARGUMENTS = [
    (("gru", 1, 2), {"feedback": 1}, "Forecaster feedback expected True or False, got 1"),
    (("gru", 1, 2), {"stride": 2}, "expected layers that keep the image size, got padding 'same' and stride (2, 2)"),
    (
        ("gru", 1, 2),
        {"bidirectional": True},
        "Forecaster encoder expected neither bidirectional nor output_size, got 'layer', None",
    ),
    (
        ("gru", 1, 2),
        {"output_size": 4},
        "Forecaster encoder expected neither bidirectional nor output_size, got None, (4, 4)",
    ),
    (
        ("gru", 1, 2),
        {"decoder": "lstm"},
        "Forecaster decoder expected True, False, None or a NetworkSpec (convgru.network), got 'lstm'",
    ),
    (
        ("gru", 1, 2),
        {"decoder": SMALLER},
        "Forecaster decoder expected cell, ndim, in_channels and hidden channels ('gru', 2, 1, [2]) as the encoder, got ('gru', 2, 1, [3])",
    ),
    (
        ("gru", 1, 2),
        {"decoder": convgru.network("gru", 1, 2, padding="valid")},
        "Forecaster decoder expected layers that keep the image size",
    ),
    (("gru", 0, 2), {}, "Forecaster channels expected a positive integer, got 0"),
    (("gru", 1, 2), {"patch": 0}, "Forecaster patch expected a positive integer, got 0"),
    (("gru", 1, 2), {"patch": (2, 2, 2)}, "Forecaster patch expected a tuple of 2 (ndim), got (2, 2, 2)"),
    (("gru", 1, 2), {"patch": "4"}, "Forecaster patch expected a positive integer, got '4'"),
    (
        ("gru", 1, 2),
        {"padding": "valid"},
        "Forecaster encoder expected layers that keep the image size, got padding 'valid' and stride (1, 1) in layer 0",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "message"), FORECASTER_ARGUMENTS)
def test_forecaster(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        convgru.forecaster(*arguments, **options)


def test_layers_that_are_none():
    layer = convgru.network("gru", 1, 2).layers[0]
    with pytest.raises(TypeError, match=re.escape("NetworkSpec.layers[1] expected a CellSpec, got dict")):
        convgru.NetworkSpec((layer, {}))
