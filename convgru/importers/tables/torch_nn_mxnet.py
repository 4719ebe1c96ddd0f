"""torch.nn's own recurrent networks, and MXNet Gluon's convolutional ones."""

from __future__ import annotations

from typing import Any

from convgru.importers.layout import Layout, Piece

_TORCH = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}


def _torch(cell: str) -> Layout:
    """Layout of torch.nn's GRU, LSTM or RNN: kernels of one pixel on images of one pixel."""
    end, rows = "_l{layer}{dir}", _TORCH[cell]
    pieces = [Piece(f"weight_{part}{end}", f"weight_{part}", rows) for part in ("ih", "hh")]
    pieces.append(Piece(f"bias_ih{end}", "bias", rows))
    if cell == "gru":
        pieces.append(Piece(f"bias_hh{end}", "bias", "rz", total=3))
        pieces.append(Piece(f"bias_hh{end}", "bias_hn", "n", first=2, total=3))
    else:
        pieces.append(Piece(f"bias_hh{end}", "bias", rows))
    return Layout(
        name=f"torch.nn.{cell}",
        title=f"torch.nn.{cell.upper()}",
        cell=cell,
        pieces=tuple(pieces),
        options={"reset": "after"} if cell == "gru" else {},
        directions=("", "_reverse"),
        form="oi",
        sizes={
            "input_size": "in_channels",
            "hidden_size": "hidden_channels",
            "num_layers": "num_layers",
            "bias": "bias",
            "bidirectional": "bidirectional",
        },
        choices={"dropout": ("dropout",), **({"nonlinearity": ("activation",)} if cell == "rnn" else {})},
        fixed={"proj_size": 0},
        ignored=("batch_first",),
        padding=None,
    )


TORCH = tuple(map(_torch, _TORCH))

_MXNET = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}


def _mxnet(cell: str) -> Layout:
    rows = _MXNET[cell]
    pieces = [Piece(f"{part}_weight", target, rows) for part, target in (("i2h", "weight_ih"), ("h2h", "weight_hh"))]
    pieces.append(Piece("i2h_bias", "bias", rows))
    if cell == "gru":
        pieces.append(Piece("h2h_bias", "bias", "rz", total=3))
        pieces.append(Piece("h2h_bias", "bias_hn", "n", first=2, total=3))
    else:
        pieces.append(Piece("h2h_bias", "bias", rows))
    options: dict[str, Any] = {"padding": "valid", "recurrent_dilation": 1}
    return Layout(
        name=f"mxnet.{cell}",
        title="MXNet Gluon contrib Conv1D, 2D and 3D cells",
        cell=cell,
        pieces=tuple(pieces),
        options={**options, **({"reset": "after"} if cell == "gru" else {})},
        sizes={
            "hidden_channels": "hidden_channels",
            "i2h_kernel": "kernel_size",
            "h2h_kernel": "recurrent_kernel_size",
        },
        choices={
            "i2h_pad": ("padding",),
            "i2h_dilate": ("dilation",),
            "h2h_dilate": ("recurrent_dilation",),
            "activation": ("activation",),
        },
        ignored=("input_shape", "conv_layout"),
        padding=None,
        suffix=".npz",
        ends="./_",
    )


TORCH_AND_MXNET = (*TORCH, *map(_mxnet, _MXNET))
