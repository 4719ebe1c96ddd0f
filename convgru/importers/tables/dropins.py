"""The five systems that convgru replaces, with their variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from convgru.importers.layout import Layout, Piece
from convgru.importers.tables.pieces import GRU, joined, three

PYTORCH_CONVGRU = Layout(
    name="pytorch_convgru",
    title="jacobkimmel/pytorch_convgru",
    cell="gru",
    pieces=three(*(f"ConvGRUCell_{{layer:02d}}.{gate}_gate" for gate in ("reset", "update", "out"))),
    options=GRU,
    sizes={
        "input_size": "in_channels",
        "hidden_sizes": "hidden_channels",
        "kernel_sizes": "kernel_size",
        "n_layers": "num_layers",
    },
    odd_kernels=True,
    ndims=(2,),
)

MINDSPORE_CONVGRU = replace(
    PYTORCH_CONVGRU,
    name="mindspore_convgru",
    title="the MindSpore port of pytorch_convgru",
    pieces=three(*(f"cell_{{layer}}.{gate}_gate" for gate in ("reset", "update", "out"))),
    suffix=".ckpt",
    ends="./_",
)

BICONVGRU = Layout(
    name="biconvgru",
    title="TopDianyou/BiConvGRU",
    cell="gru",
    # z weighs the new value there too
    pieces=(
        *joined("{dir}.cells.{layer}.conv_gates", "rz", negative="z"),
        *joined("{dir}.cells.{layer}.conv_candidate", "n"),
    ),
    options=GRU,
    directions=("forward_gru", "reverse_gru"),
    bidirectional="stack",
    sizes={
        "input_dim": "in_channels",
        "hidden_dim": "hidden_channels",
        "kernel_size": "kernel_size",
        "num_layers": "num_layers",
        "bidirectional": "bidirectional",
        "bias": "bias",
    },
    choices={"dropout": ("dropout",), "output_size": ("output_size",)},
    ignored=("input_size", "batch_first", "return_all_layers"),
    odd_kernels=True,
    ndims=(2,),
)

CONVLSTM_PYTORCH = Layout(
    name="convlstm_pytorch",
    title="ndrplz/ConvLSTM_pytorch",
    cell="lstm",
    pieces=joined("cell_list.{layer}.conv", "ifog"),
    sizes={
        "input_dim": "in_channels",
        "hidden_dim": "hidden_channels",
        "kernel_size": "kernel_size",
        "num_layers": "num_layers",
        "bias": "bias",
    },
    ignored=("batch_first", "return_all_layers"),
    odd_kernels=True,
    ndims=(2,),
)

ULTRAFAST = replace(
    CONVLSTM_PYTORCH,
    name="ultrafast_convlstm",
    title="UltraFastConvLstm",
    pieces=joined("list_of_cells.{layer}.conv", "ifog"),
    sizes={
        "channel_input": "in_channels",
        "hidden_sizes": "hidden_channels",
        "kernel_sizes": "kernel_size",
        "num_layers": "num_layers",
        "bias": "bias",
    },
    ignored=("input_size", "seq_len", "batch_first"),
)

_SEYONGK = "conv_lstm_cells.{dir}.gates.0"
BIDIRECTIONAL_CONV_LSTM = Layout(
    name="bidirectional_conv_lstm",
    title="seyongk/Bidirectional-Conv-LSTM-pytorch",
    cell="lstm",
    # A batch norm of the sum of both convolutions: s·(W*x + U*h + b_x + b_h − μ) + β
    pieces=(
        Piece(f"{_SEYONGK}.conv_x.weight", "weight_ih", "ifgo", norm=f"{_SEYONGK}.bn2d"),
        Piece(f"{_SEYONGK}.conv_h.weight", "weight_hh", "ifgo", norm=f"{_SEYONGK}.bn2d"),
        Piece(f"{_SEYONGK}.conv_x.bias", "bias", "ifgo", norm=f"{_SEYONGK}.bn2d", optional=True),
        Piece(f"{_SEYONGK}.conv_h.bias", "bias", "ifgo", norm=f"{_SEYONGK}.bn2d", optional=True),
        Piece(f"{_SEYONGK}.bn2d.bias", "bias", "ifgo"),
        Piece(f"{_SEYONGK}.bn2d.running_mean", "bias", "ifgo", negative="ifgo", norm=f"{_SEYONGK}.bn2d"),
    ),
    directions=("0", "1"),
    sizes={
        "in_channels": "in_channels",
        "hidden_channels": "hidden_channels",
        "kernel_size": "kernel_size",
        "bidirectional": "bidirectional",
    },
    fixed={"stride": 1},
    ignored=("padding", "bias", "batch_first"),  # with any padding but kernel // 2 the original cannot run
    strays=(r"conv_lstm_cells\.\d+\.gates\.0\.bn2d\.num_batches_tracked", "hidden_state", "cell_state"),
    odd_kernels=True,
    ndims=(2,),
)


_KAMO_GATES = {"gru": "rzn", "lstm": "ifgo", "peephole": "ifgo", "rnn": "h"}


def _convolutional_rnn(kind: str, *, bare: bool) -> Layout:
    """Layout of kamo-naoyuki/pytorch_convolutional_rnn: stacks, or its cells (``bare``).

    The arrays of cells have the same names, without layer and direction.
    """
    end, rows = "" if bare else "_l{layer}{dir}", _KAMO_GATES[kind]
    pieces = [Piece(f"weight_{part}{end}", f"weight_{part}", rows) for part in ("ih", "hh")]
    pieces.append(Piece(f"bias_ih{end}", "bias", rows))
    if kind == "gru":
        pieces.append(Piece(f"bias_hh{end}", "bias", "rz", total=3))
        pieces.append(Piece(f"bias_hh{end}", "bias_hn", "n", first=2, total=3))
    else:
        pieces.append(Piece(f"bias_hh{end}", "bias", rows))
    if kind == "peephole":  # biases of their own are in the files of some versions only
        pieces += [Piece(f"weight_p{gate}{end}", f"peephole_{gate}", gate) for gate in "ifo"]
        pieces += [Piece(f"bias_p{gate}{end}", "bias", gate, optional=True) for gate in "ifo"]
    sizes = {
        "in_channels": "in_channels",
        "out_channels": "hidden_channels",
        "kernel_size": "kernel_size",
        "bias": "bias",
    }
    choices = {"stride": ("stride", "recurrent_stride"), "dilation": ("dilation", "recurrent_dilation")}
    options: dict[str, Any] = {"gru": {"reset": "after"}, "peephole": {"peephole": "conv"}}.get(kind, {})
    return Layout(
        name=f"convolutional_rnn.{kind}{'_cell' if bare else ''}",
        title="kamo-naoyuki/pytorch_convolutional_rnn",
        cell="lstm" if kind == "peephole" else kind,
        pieces=tuple(pieces),
        options=options,
        directions=("",) if bare else ("", "_reverse"),
        sizes=sizes if bare else {**sizes, "num_layers": "num_layers", "bidirectional": "bidirectional"},
        choices={
            **choices,
            **({"nonlinearity": ("activation",)} if kind == "rnn" else {}),
            **({} if bare else {"dropout": ("dropout",)}),
        },
        groups="groups",
        ignored=() if bare else ("batch_first",),
        padding="preserve",
        named=bare,
    )


CONVOLUTIONAL_RNN = tuple(_convolutional_rnn(kind, bare=bare) for bare in (False, True) for kind in _KAMO_GATES)

DROPINS = (
    PYTORCH_CONVGRU,
    MINDSPORE_CONVGRU,
    BICONVGRU,
    CONVLSTM_PYTORCH,
    ULTRAFAST,
    BIDIRECTIONAL_CONV_LSTM,
    *CONVOLUTIONAL_RNN,
)
