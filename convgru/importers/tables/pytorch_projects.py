"""Other PyTorch projects: optical flow, matting, nowcasting, events, MRI."""

from __future__ import annotations

from convgru.importers.layout import Layout, Piece, Refusal
from convgru.importers.tables.pieces import GRU, joined, three

_RAFT_SIZES = {"hidden_dim": "hidden_channels", "input_dim": "in_channels", "kernel_size": "kernel_size"}

RAFT = Layout(
    name="raft",
    title="princeton-vl/RAFT (small) and RAFT-Stereo",  # whose cr, cz, cq make our context: cr, −cz, cq
    cell="gru",
    pieces=three("convr", "convz", "convq"),
    options=GRU,
    joined="hx",
    sizes=_RAFT_SIZES,
    odd_kernels=True,
    ndims=(2,),
)

RAFT_SEP = Layout(
    name="raft_sep",
    title="princeton-vl/RAFT",
    cell="gru",
    pieces=tuple(
        piece
        for u in (0, 1)
        for piece in three(f"convr{u + 1}", f"convz{u + 1}", f"convq{u + 1}", update=f"updates.{u}.")
    ),
    options=GRU,
    joined="hx",
    sizes={"hidden_dim": "hidden_channels", "input_dim": "in_channels"},
    odd_kernels=True,
    ndims=(2,),
)

TORCHVISION_RAFT = Layout(
    name="torchvision_raft",
    title="torchvision.models.optical_flow.RAFT",
    cell="gru",
    pieces=tuple(
        piece
        for u in (0, 1)
        for piece in three(*(f"convgru{u + 1}.conv{gate}" for gate in "rzq"), update=f"updates.{u}.")
    ),
    options=GRU,
    joined="hx",
    sizes={"hidden_size": "hidden_channels", "input_size": "in_channels"},
    ignored=("kernel_size", "padding"),
    odd_kernels=True,
    ndims=(2,),
)

RVM = Layout(
    name="robust_video_matting",
    title="Robust Video Matting",
    cell="gru",
    pieces=(*joined("ih.0", "rz", "z"), *joined("hh.0", "n")),
    options=GRU,
    sizes={"channels": "hidden_channels", "kernel_size": "kernel_size"},
    ignored=("padding",),
    odd_kernels=True,
    ndims=(2,),
)


def _dgmr(name: str, weight: str, u: str, v: str) -> Layout:
    """Layout of DGMR's ConvGRU, with spectral norm by parametrization or by hook.

    The weight is divided by uᵀWv with the vectors u and v of the file, as in evaluation.
    """
    pieces: list[Piece] = []
    for key, gate in (("cell.read_gate_conv", "r"), ("cell.update_gate_conv", "z"), ("cell.output_conv", "n")):
        spectral = f"{key}.{u}", f"{key}.{v}"
        pieces += [
            Piece(f"{key}.{weight}", "weight_ih", gate, columns="x", spectral=spectral),
            Piece(f"{key}.{weight}", "weight_hh", gate, columns="h", spectral=spectral),
            Piece(f"{key}.bias", "bias", gate),
        ]
    return Layout(
        name=name,
        title="openclimatefix/skillful_nowcasting (DGMR)",
        cell="gru",
        pieces=tuple(pieces),
        options={**GRU, "activation": "relu"},
        sizes={
            "input_channels": "joined_channels",
            "output_channels": "hidden_channels",
            "kernel_size": "kernel_size",
        },
        ignored=("sn_eps",),
        odd_kernels=True,
        ndims=(2,),
    )


DGMR = _dgmr("dgmr", "parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v")
DGMR_OLD = _dgmr("dgmr.hook", "weight_orig", "weight_u", "weight_v")

DIRECT = Layout(
    name="direct",
    title="NKI-AI/direct Conv2dGRU",
    cell="gru",
    pieces=three(*(f"{gate}_gates.{{layer}}.0" for gate in ("reset", "update", "out"))),
    options=GRU,
    sizes={"hidden_channels": "hidden_channels", "gru_kernel_size": "kernel_size"},
    fixed={"instance_norm": False},
    ignored=("in_channels", "out_channels", "num_layers", "orthogonal_initialization", "replication_padding"),
    odd_kernels=True,
    ndims=(2,),
    separate=True,  # between the layers are other convolutions
)

_JHHUANG_SIZES = {"input_channels": "in_channels", "num_features": "hidden_channels", "filter_size": "kernel_size"}
JHHUANG_LSTM = Layout(
    name="jhhuang96.lstm",
    title="jhhuang96/ConvLSTM-PyTorch",
    cell="lstm",
    pieces=(
        *joined("conv.0", "ifgo"),
        Piece("conv.1.weight", "norm_weight", "ifgo"),
        Piece("conv.1.bias", "norm_bias", "ifgo"),
    ),
    sizes=_JHHUANG_SIZES,
    ignored=("shape", "seq_len"),
    norm_channels=32,
    odd_kernels=True,
    ndims=(2,),
    inside=r"(?:.*\.)?(?:rnn|lstm|convlstm)\d*\.|",
)
JHHUANG_GRU = Layout(
    name="jhhuang96.gru",
    title="jhhuang96/ConvLSTM-PyTorch",
    cell="gru",
    # The norm stands between the convolution and the sign, so that the norm's own arrays turn
    # theirs.
    pieces=(
        *joined("conv1.0", "zr"),
        Piece("conv1.1.weight", "norm_weight", "zr", negative="z"),
        Piece("conv1.1.bias", "norm_bias", "zr", negative="z"),
        *joined("conv2.0", "n"),
        Piece("conv2.1.weight", "norm_weight", "n"),
        Piece("conv2.1.bias", "norm_bias", "n"),
    ),
    options=GRU,
    sizes=_JHHUANG_SIZES,
    ignored=("shape", "seq_len"),
    norm_channels=32,
    odd_kernels=True,
    ndims=(2,),
    inside=r"(?:.*\.)?(?:rnn|gru|convgru)\d*\.|",
)

HZZONE = Layout(
    name="hzzone",
    title="Hzzone/Precipitation-Nowcasting, vp-suite, SA-ConvLSTM",
    cell="lstm",
    pieces=(
        *joined("_conv", "ifgo"),
        *(Piece(f"Wc{gate}", f"peephole_{gate}", gate, form="1ok", optional=True) for gate in "ifo"),
    ),
    sizes={"input_channel": "in_channels", "num_filter": "hidden_channels", "kernel_size": "kernel_size"},
    fixed={"stride": 1},
    ignored=("b_h_w", "padding"),
    peephole="hadamard",  # not in files saved on a GPU, where the original never trained it
    odd_kernels=True,
    ndims=(2,),
)

OPENSTL = Layout(
    name="openstl",
    title="chengtan9907/OpenSTL ConvLSTM",
    cell="lstm",
    pieces=(
        Piece("cell_list.{layer}.conv_x.0.weight", "weight_ih", "ifgo"),
        Piece("cell_list.{layer}.conv_h.0.weight", "weight_hh", "ifgo"),
    ),
    sizes={"num_layers": "num_layers", "num_hidden": "hidden_channels", "filter_size": "kernel_size"},
    ignored=("configs",),
    strays=(r"cell_list\.\d+\.(?:conv_o\.0|conv_last)\.weight",),  # never used
    odd_kernels=True,
    ndims=(2,),
)

ENSEMBLE = Layout(
    name="convgru_ensemble",
    title="DSIP-FBK/ConvGRU-Ensemble",
    cell="gru",
    pieces=(*joined("cell.combined_gates", "zr", "z"), *joined("cell.out_gate", "n")),
    options=GRU,
    sizes={"input_size": "in_channels", "hidden_size": "hidden_channels", "kernel_size": "kernel_size"},
    ignored=("channels", "num_blocks", "steps", "noisy_decoder"),
    odd_kernels=True,
    ndims=(2,),
)

_E2VID_IGNORED = (
    *("in_channels", "kernel_size", "stride", "padding", "recurrent_block_type", "activation", "norm", "BN_momentum"),
    *("num_bins", "skip_type", "num_encoders", "base_num_channels", "num_residual_blocks", "use_upsample_conv"),
)
E2VID = Layout(
    name="e2vid.lstm",
    title="uzh-rpg/rpg_e2vid",
    cell="lstm",
    pieces=joined("Gates", "ifog"),
    sizes={"out_channels": "hidden_channels", "hidden_size": "hidden_channels", "input_size": "in_channels"},
    ignored=_E2VID_IGNORED,
    odd_kernels=True,
    ndims=(2,),
)
FIRENET = Layout(
    name="e2vid.gru",
    title="uzh-rpg/rpg_e2vid, FireNet",
    cell="gru",
    pieces=three("reset_gate", "update_gate", "out_gate"),
    options=GRU,
    sizes={"out_channels": "hidden_channels", "hidden_size": "hidden_channels", "input_size": "in_channels"},
    ignored=_E2VID_IGNORED,
    odd_kernels=True,
    ndims=(2,),
)

PYTORCH = (
    *(RAFT, RAFT_SEP, TORCHVISION_RAFT, RVM, DGMR, DGMR_OLD, DIRECT, JHHUANG_LSTM, JHHUANG_GRU),
    *(HZZONE, OPENSTL, ENSEMBLE, E2VID, FIRENET),
)

REFUSALS = (
    Refusal(
        r"(?:^|\.)weight_hr_l\d+(?:_reverse)?$",
        "torch.nn.LSTM with proj_size",
        "its output is a projection of o∘tanh(c) to fewer channels, which no cell here has",
    ),
    Refusal(
        r"(?:^|\.)conv[zrq]_glo\.weight$",
        "princeton-vl/DROID-SLAM",
        "its gates add a context that is computed from the whole hidden state, which no cell here does",
    ),
    Refusal(
        r"(?:^|\.)conv_[xh]\.1\.weight$",
        "chengtan9907/OpenSTL ConvLSTM with layer_norm",
        "W*x and U*h are normalised each by itself, over the image too; a cell here normalises their sum",
    ),
    Refusal(
        r"(?:^|\.)(?:reset|update|out)_gates\.\d+\.1\.weight$",
        "NKI-AI/direct Conv2dGRU with instance_norm",
        "the gates normalise x and h before the convolution, which no cell here does",
    ),
)
