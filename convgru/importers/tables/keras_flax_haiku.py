"""Keras, Flax linen, Haiku, Sonnet and TensorFlow 1: channels last, gates in one tensor."""

from __future__ import annotations

from dataclasses import replace

from convgru.importers.layout import Layout, Piece

_KERAS = Layout(
    name="keras",
    title="Keras ConvLSTM1D, 2D and 3D",
    cell="lstm",
    pieces=(),
    # The recurrent convolution there always has stride 1, no dilation, padding same.
    options={"padding": "valid", "recurrent_dilation": 1},
    form="kio",
    suffix=".weights.h5",
    sizes={"filters": "hidden_channels", "kernel_size": "kernel_size", "use_bias": "bias"},
    choices={
        "strides": ("stride",),
        "padding": ("padding",),
        "dilation_rate": ("dilation",),
        "activation": ("activation",),
        "recurrent_activation": ("recurrent_activation",),
        "recurrent_dropout": ("recurrent_dropout",),
    },
    fixed={"go_backwards": False},
    ignored=(
        *(
            "data_format",
            "return_sequences",
            "return_state",
            "stateful",
            "unit_forget_bias",
            "dropout",  # on the input there, in training
        ),
        *("unroll", "name", "trainable", "dtype", "seed"),
        *(
            f"{part}_{what}"
            for part in ("kernel", "recurrent", "bias")
            for what in ("initializer", "regularizer", "constraint")
        ),
        *("activity_regularizer", "stack"),  # a model around the layer
    ),
    padding=None,
    strays=(r".*seed_generator.*",),
)


_NAMED = "kernel", "recurrent_kernel", "bias"
_NUMBERED = "vars/0", "vars/1", "vars/2"


def _keras(name: str, cell: str, arrays: tuple[str, str, str], directions: tuple[str, ...] = ("",)) -> Layout:
    kernel, recurrent, bias = arrays
    both = len(directions) == 2
    return replace(
        _KERAS,
        name=name,
        suffix=".npz" if arrays == _NAMED else _KERAS.suffix,  # names of the older .h5, which only Keras 2 writes
        pieces=(
            Piece(f"{cell}/{kernel}", "weight_ih", "ifgo"),
            Piece(f"{cell}/{recurrent}", "weight_hh", "ifgo"),
            Piece(f"{cell}/{bias}", "bias", "ifgo"),
        ),
        directions=directions,
        choices={**_KERAS.choices, **({"merge_mode": ("merge",)} if both else {})},
        words={"ave": "mean", "leaky_relu": "leaky_relu of Keras, whose slope is 0.2"},
    )


KERAS = (
    _keras("keras", "cell", _NUMBERED),
    _keras("keras.both", "{dir}/cell", _NUMBERED, ("forward_layer", "backward_layer")),
    _keras("keras.named", "conv_lstm_cell", _NAMED),
    _keras("keras.named_both", "{dir}_{any}/conv_lstm_cell", _NAMED, ("forward", "backward")),
)

_ONE = Piece("", "bias", "f", constant=1.0)


def _linen(name: str, start: str, directions: tuple[str, ...] = ("",)) -> Layout:
    """Layout of Flax linen's ConvLSTMCell, one or both directions.

    Flax adds one to the forget gate at run time, without biases too.
    """
    return Layout(
        name=name,
        title="Flax linen ConvLSTMCell",
        cell="lstm",
        pieces=(
            Piece(f"{start}ih/kernel", "weight_ih", "igfo"),
            Piece(f"{start}hh/kernel", "weight_hh", "igfo"),
            Piece(f"{start}ih/bias", "bias", "igfo", optional=True),
            Piece(f"{start}hh/bias", "bias", "igfo", optional=True),
            _ONE,
        ),
        form="kio",
        suffix=".msgpack",
        directions=directions,
        sizes={"features": "hidden_channels", "kernel_size": "kernel_size", "use_bias": "bias"},
        fixed={"strides": 1, "padding": "SAME"},
        ignored=("dtype", "param_dtype", "kernel_init", "bias_init", "carry_init"),
        padding=None,
    )


LINEN = (_linen("linen", ""), _linen("linen.both", "{dir}/cell/", ("forward_rnn", "backward_rnn")))

HAIKU = Layout(
    name="haiku",
    title="Haiku Conv1DLSTM, Conv2DLSTM and Conv3DLSTM",
    cell="lstm",
    pieces=(
        Piece("input_to_hidden/w", "weight_ih", "igfo"),
        Piece("hidden_to_hidden/w", "weight_hh", "igfo"),
        Piece("input_to_hidden/b", "bias", "igfo"),
        Piece("hidden_to_hidden/b", "bias", "igfo"),
        _ONE,
    ),
    form="kio",
    suffix=".npz",
    sizes={"output_channels": "hidden_channels", "kernel_shape": "kernel_size"},
    ignored=("input_shape",),
    padding=None,
)

SONNET = Layout(
    name="sonnet",
    title="Sonnet 2 Conv1DLSTM, Conv2DLSTM and Conv3DLSTM",
    cell="lstm",
    pieces=(
        Piece("input_to_hidden/w", "weight_ih", "ifgo"),
        Piece("hidden_to_hidden/w", "weight_hh", "ifgo"),
        Piece("b", "bias", "ifgo"),
    ),
    form="kio",
    suffix=".npz",
    sizes={"output_channels": "hidden_channels", "kernel_shape": "kernel_size"},
    ignored=("input_shape", "data_format"),
    padding=None,
)

TF_CONTRIB = Layout(
    name="tf_contrib",
    title="tf.contrib.rnn.ConvLSTMCell",
    cell="lstm",
    # Its second gate is called j there: g
    pieces=(
        Piece("kernel", "weight_ih", "igfo", columns="x"),
        Piece("kernel", "weight_hh", "igfo", columns="h"),
        Piece("biases", "bias", "igfo"),
        _ONE,
    ),
    form="kio",
    suffix=".npz",
    sizes={"output_channels": "hidden_channels", "kernel_shape": "kernel_size"},
    ignored=("conv_ndims", "input_shape", "use_bias"),
    # what TensorFlow's optimisers keep beside the weights
    strays=(r"(?:kernel|biases)/(?:Adam|Adam_1|Momentum|RMSProp|RMSProp_1|Adagrad|ExponentialMovingAverage)",),
    forget_bias="forget_bias",
    padding=None,
)

CHANNELS_LAST = (*KERAS, *LINEN, HAIKU, SONNET, TF_CONTRIB)
