"""Packed sequences, kernel 1 on 1x1 images: numbers, indices, gradients of torch.nn's GRU, LSTM."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN

T, B, C, H, LAYERS = 6, 5, 4, 3, 2
LENGTHS = torch.tensor([3, 6, 1, 4, 4])
PAIRS = {
    "gru": (ConvGRU, {"reset": "after"}, nn.GRU),
    "lstm": (ConvLSTM, {}, nn.LSTM),
    "rnn": (ConvRNN, {}, nn.RNN),
}


def make(kind, bidirectional, batch_first=False):
    """The two networks in float64; torch's two biases are one, but for GRU's b_hn."""
    ours, options, theirs = PAIRS[kind]
    shared = {"bidirectional": bidirectional, "batch_first": batch_first, "dtype": torch.float64}
    net = ours(C, H, 1, num_layers=LAYERS, **options, **shared)
    native = theirs(C, H, num_layers=LAYERS, **shared)
    state = {}
    for name, one in pairs(native):
        b_ih, b_hh = (getattr(native, f"bias_{part}_{one}").detach() for part in ("ih", "hh"))
        for part in ("ih", "hh"):
            state[f"{name}.weight_{part}"] = getattr(native, f"weight_{part}_{one}").detach()[..., None, None]
        state[f"{name}.bias"] = b_ih + b_hh
        if kind == "gru":
            state[f"{name}.bias"] = torch.cat([(b_ih + b_hh)[: 2 * H], b_ih[2 * H :]])
            state[f"{name}.bias_hn"] = b_hh[2 * H :]
    net.load_state_dict(state)
    return net, native


def pairs(native):
    """How we and torch call each layer and direction, in the order of the states."""
    for layer in range(LAYERS):
        for suffix, direction in (("", "fwd"), ("_reverse", "bwd"))[: 1 + native.bidirectional]:
            yield f"layers.{layer}.{direction}", f"l{layer}{suffix}"


def states(kind, native):
    h, c = torch.randn(2, len(list(pairs(native))), B, H, dtype=torch.float64)
    image = [a[..., None, None].unbind(0) for a in (h, c)]
    return (tuple(zip(*image, strict=True)), (h, c)) if kind == "lstm" else (image[0], h)


def close(got, want):
    assert got.shape == want.shape
    assert (got - want).abs().max() <= 1e-14 * max(1.0, want.abs().max().item())


def final_states(kind, state):
    """Ours in torch's form."""
    parts = list(zip(*state, strict=True)) if kind == "lstm" else [state]
    stacked = [torch.stack(list(part))[..., 0, 0] for part in parts]
    return tuple(stacked) if kind == "lstm" else stacked[0]


@pytest.mark.parametrize("given", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("bidirectional", [True, False], ids=["bidirectional", "forward"])
@pytest.mark.parametrize("enforce_sorted", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("kind", PAIRS)
def test_packed_runs_are_torchs(kind, enforce_sorted, bidirectional, given):
    net, native = make(kind, bidirectional)
    ours, theirs = states(kind, native) if given else (None, None)
    lengths = LENGTHS.sort(descending=True).values if enforce_sorted else LENGTHS
    x = torch.randn(T, B, C, dtype=torch.float64)
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    packed = pack_padded_sequence(left[..., None, None], lengths, enforce_sorted=enforce_sorted)
    y, final = net(packed, ours)
    want, want_final = native(pack_padded_sequence(right, lengths, enforce_sorted=enforce_sorted), theirs)
    assert torch.equal(y.batch_sizes, want.batch_sizes)
    for name in ("sorted_indices", "unsorted_indices"):
        mine, native_index = getattr(y, name), getattr(want, name)
        assert (mine is None) == (native_index is None)
        assert mine is None or torch.equal(mine, native_index)
    close(y.data[..., 0, 0], want.data)
    got = final_states(kind, final)
    for mine, native_part in zip(got, want_final, strict=True) if kind == "lstm" else [(got, want_final)]:
        close(mine, native_part)
    cotangent = torch.randn_like(want.data)
    (y.data[..., 0, 0] * cotangent).sum().backward()
    (want.data * cotangent).sum().backward()
    close(left.grad, right.grad)
    for name, one in pairs(native):
        cell = net.get_submodule(name)
        for part in ("ih", "hh"):
            close(getattr(cell, f"weight_{part}").grad[..., 0, 0], getattr(native, f"weight_{part}_{one}").grad)
        close(cell.bias.grad, getattr(native, f"bias_ih_{one}").grad)
        if kind == "gru":
            close(cell.bias_hn.grad, getattr(native, f"bias_hh_{one}").grad[2 * H :])


@pytest.mark.parametrize("kind", PAIRS)
def test_bidirectional_is_torchs_without_lengths(kind):
    net, native = make(kind, True, batch_first=True)
    x = torch.randn(B, T, C, dtype=torch.float64)
    (y, final), (want, want_final) = net(x[..., None, None]), native(x)
    close(y[..., 0, 0], want)
    got = final_states(kind, final)
    close(torch.stack(got) if kind == "lstm" else got, torch.stack(want_final) if kind == "lstm" else want_final)


def test_packed_is_lengths():
    """Packed, padded with lengths, and sample by sample: equal output and state."""
    net = ConvLSTM(2, [3, 2], bidirectional="stack", merge="sum", dtype=torch.float64)
    samples = [torch.randn(n, 2, 4, 5, dtype=torch.float64) for n in LENGTHS.tolist()]
    y, final = net(pack_sequence(samples, enforce_sorted=False))
    padded = nn.utils.rnn.pad_sequence(samples, padding_value=float("nan"))
    for lengths in (LENGTHS, LENGTHS.int(), LENGTHS.tolist(), tuple(LENGTHS.tolist())):
        other, other_final = net(padded, lengths=lengths)
        assert torch.equal(pad_packed_sequence(y)[0], other)
        torch.testing.assert_close(other_final, final, rtol=0, atol=0)
    for b, sample in enumerate(samples):
        alone, alone_final = net(sample[:, None])
        torch.testing.assert_close(other[: len(sample), b], alone[:, 0], rtol=0, atol=1e-14)
        mine = [tuple(part[b : b + 1] for part in entry) for entry in final]
        torch.testing.assert_close(mine, list(alone_final), rtol=0, atol=1e-14)


def test_packed_all_layers_and_last_only():
    net = ConvGRU(2, [3, 2], bidirectional=True, batch_first=True)  # which a PackedSequence does not ask for
    packed = pack_sequence([torch.randn(n, 2, 4, 5) for n in (2, 4)], enforce_sorted=False)
    y, _ = net(packed)
    every, _ = net(packed, return_all_layers=True)
    assert [each.data.shape[1] for each in every] == [6, 4]
    assert torch.equal(every[-1].data, y.data)
    last, _ = net(packed, last_only=True)
    padded, lengths = pad_packed_sequence(y)
    assert torch.equal(last, torch.stack([padded[n - 1, b] for b, n in enumerate(lengths)]))


def test_packed_with_lengths_is_refused():
    packed = pack_sequence([torch.randn(3, 2, 4, 4)])
    with pytest.raises(TypeError, match=r"^ConvGRU expected no lengths with a PackedSequence, which has its own$"):
        ConvGRU(2, 3)(packed, lengths=[3])
