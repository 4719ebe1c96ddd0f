"""The foreign layouts that convgru reads and writes, as data; the numbers behind them stand in tests/goldens."""

from __future__ import annotations

from convgru.importers.layout import Layout, Piece


def _joined_gru(prefix: str, gates: tuple[str, str, str]) -> tuple[Piece, ...]:
    """A GRU with one convolution of [x, h] for each gate, whose z takes the new value: h' = (1−z)∘h + z∘n."""
    pieces: list[Piece] = []
    for gate, module in zip("rzn", gates, strict=True):
        sign = "z" if gate == "z" else ""
        weight = f"{prefix}.{module}.weight"
        pieces += [
            Piece(weight, "weight_ih", gate, columns="x", negative=sign),
            Piece(weight, "weight_hh", gate, columns="h", negative=sign),
            Piece(f"{prefix}.{module}.bias", "bias", gate, negative=sign),
        ]
    return tuple(pieces)


PYTORCH_CONVGRU = Layout(
    name="pytorch_convgru",
    title="jacobkimmel/pytorch_convgru",
    cell="gru",
    pieces=_joined_gru("ConvGRUCell_{layer:02d}", ("reset_gate", "update_gate", "out_gate")),
    options={"reset": "before"},
    sizes={
        "input_size": "in_channels",
        "hidden_sizes": "hidden_channels",
        "kernel_sizes": "kernel_size",
        "n_layers": "num_layers",
    },
    odd_kernels=True,
    ndims=(2,),
)

CONVLSTM_PYTORCH = Layout(
    name="convlstm_pytorch",
    title="ndrplz/ConvLSTM_pytorch",
    cell="lstm",
    pieces=(
        Piece("cell_list.{layer}.conv.weight", "weight_ih", "ifog", columns="x"),
        Piece("cell_list.{layer}.conv.weight", "weight_hh", "ifog", columns="h"),
        Piece("cell_list.{layer}.conv.bias", "bias", "ifog"),
    ),
    sizes={
        "input_dim": "in_channels",
        "hidden_dim": "hidden_channels",
        "kernel_size": "kernel_size",
        "num_layers": "num_layers",
    },
    ignored=("batch_first", "bias", "return_all_layers"),
    odd_kernels=True,
    ndims=(2,),
)


def _convolutional_rnn(cell: str, pieces: tuple[Piece, ...]) -> Layout:
    return Layout(
        name=f"convolutional_rnn.{cell}",
        title="kamo-naoyuki/pytorch_convolutional_rnn",
        cell=cell,
        pieces=(
            Piece("weight_ih_l{layer}", "weight_ih", pieces[0].rows),
            Piece("weight_hh_l{layer}", "weight_hh", pieces[0].rows),
            *pieces,
        ),
        sizes={
            "in_channels": "in_channels",
            "out_channels": "hidden_channels",
            "kernel_size": "kernel_size",
            "num_layers": "num_layers",
        },
        choices={"nonlinearity": "activation"} if cell == "rnn" else {},
        fixed={"stride": 1, "dilation": 1, "groups": 1, "bidirectional": False},
        ignored=("batch_first", "bias", "dropout"),
        refused={
            r"weight_(ih|hh)_l\d+_reverse": "it is bidirectional, and this version of convgru adopts one direction",
            r"weight_p[ifo]_l\d+": "it has peepholes, and this version of convgru adopts none",
        },
        options={"reset": "after"} if cell == "gru" else {},
    )


CONVOLUTIONAL_RNN = (
    _convolutional_rnn(
        "gru",
        (
            Piece("bias_ih_l{layer}", "bias", "rzn"),
            Piece("bias_hh_l{layer}", "bias", "rz", total=3),
            Piece("bias_hh_l{layer}", "bias_hn", "n", first=2, total=3),
        ),
    ),
    _convolutional_rnn("lstm", (Piece("bias_ih_l{layer}", "bias", "ifgo"), Piece("bias_hh_l{layer}", "bias", "ifgo"))),
    _convolutional_rnn("rnn", (Piece("bias_ih_l{layer}", "bias", "h"), Piece("bias_hh_l{layer}", "bias", "h"))),
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (PYTORCH_CONVGRU, CONVLSTM_PYTORCH, *CONVOLUTIONAL_RNN)}
