"""The drop-in for seyongk's bidirectional ConvLSTM: numbers, training, quirks and corrections."""

import copy
import pickle

import pytest
import torch
from support import assert_close
from torch import nn

import convgru
from convgru.torch.compat.bidirectional_conv_lstm import ConvLSTM, ConvLSTMCell

SIZES = {"in_channels": 2, "hidden_channels": 3, "kernel_size": 3, "padding": 1, "stride": 1}
USUAL = {**SIZES, "bias": True, "batch_first": True, "bidirectional": True}


def make(**options):
    """A net in float64 whose batch norms have statistics of their own."""
    net = ConvLSTM(**{**USUAL, **options}).double()
    with torch.no_grad():
        for gate in (cell.gates[0] for cell in net.conv_lstm_cells):
            for tensor, low in ((gate.bn2d.weight, 0.5), (gate.bn2d.running_var, 0.5), (gate.bn2d.bias, -0.5)):
                tensor.uniform_(low, low + 1)
            gate.bn2d.running_mean.uniform_(-0.5, 0.5)
    return net.eval()


def frames(*axes):
    return torch.randn(*axes, 6, 5, dtype=torch.float64)


class Plain(nn.Module):
    """The original's network, its equations written out step by step."""

    def __init__(self, like):
        super().__init__()
        self.conv_lstm_cells = copy.deepcopy(like.conv_lstm_cells)  # as containers of convolutions and batch norms

    def forward(self, x, states):
        results = []
        for cell, (h, c), way in zip(self.conv_lstm_cells, states, (x, x.flip(1)), strict=False):
            gate, outputs = cell.gates[0], []
            for frame in way.unbind(1):
                i, f, g, o = gate.bn2d(gate.conv_x(frame) + gate.conv_h(h)).chunk(4, 1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                outputs.append(h)
            results.append((torch.stack(outputs, 1), h, c))
        y, h, c = zip(*results, strict=True)
        return torch.cat(y, 2), (torch.cat(h, -1), torch.cat(c, -1))


def zeros(net, batch=2):
    h = torch.zeros(batch, net.hidden_channels, 6, 5, dtype=torch.float64)
    return [(h, h)] * len(net.conv_lstm_cells)


def test_the_originals_numbers(golden):
    meta, state_dict, arrays = golden("bidirectional_conv_lstm")
    net = ConvLSTM(**meta["args"]).double().eval()
    assert list(net.state_dict()) == list(state_dict)
    net.load_state_dict(state_dict, strict=True)
    output, (h, c) = net(arrays["x"])
    assert_close((output, h, c), (arrays["output"], arrays["h"], arrays["c"]))


def test_the_example():
    sizes = {"in_channels": 1, "hidden_channels": 64, "kernel_size": 3, "padding": 1, "stride": 1}
    net = ConvLSTM(**sizes, bias=True, batch_first=True, bidirectional=True)
    output, (h, c) = net(torch.randn(2, 3, 1, 16, 12))
    assert output.shape == (2, 3, 128, 16, 12)
    assert h.shape == c.shape == (2, 64, 16, 24)
    assert output.is_contiguous()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    "kernel", [{}, {"kernel_size": (5, 3), "padding": (2, 1)}, {"kernel_size": 4, "padding": "same"}]
)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_step_of_training_is_that_of_the_equations(bias, bidirectional, kernel, frozen):
    net = make(bias=bias, bidirectional=bidirectional, **kernel).train()
    if frozen:  # often done when a network is tuned: its batch norms stay in evaluation
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    plain = Plain(net)
    x = frames(2, 3, 2)
    results = []
    for each, given in ((net, ()), (plain, (zeros(net),))):
        optimiser = torch.optim.SGD(each.parameters(), lr=0.1)
        y, (h, c) = each(x, *given)
        (y.square().sum() + (h * c).sum()).backward()
        optimiser.step()
        results.append((y, h, c, each.state_dict(), [p.grad for p in each.parameters()]))
    (y, h, c, after, grads), (want_y, want_h, want_c, want_after, want_grads) = results
    assert_close((y, h, c), (want_y, want_h, want_c))
    assert_close(grads, want_grads)
    assert list(after) == list(want_after)
    for key, value in want_after.items():
        assert_close(after[key], value, what=key)
    counts = [value.item() for key, value in after.items() if key.endswith("num_batches_tracked")]
    assert counts == [0 if frozen else 3] * len(net.conv_lstm_cells)


def test_gradients_flow_through_the_output_in_evaluation():
    net = make()
    net(frames(2, 3, 2))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


@pytest.mark.parametrize("training", [False, True])
def test_initial_states_of_both_directions(training):
    net = make().train(training)
    plain = Plain(net)
    x, states = frames(2, 3, 2), [(frames(2, 3), frames(2, 3)) for _ in "fb"]
    wide = tuple(torch.cat(parts, -1) for parts in zip(*states, strict=True))
    y, final = net(x, wide)
    want, end = plain(x, states)
    assert_close((y, *final), (want, *end))
    one = tuple(part[:1] for part in wide)  # one sample's stands for all
    assert_close(net.eval()(x, one), net(x, tuple(part.expand(2, -1, -1, -1) for part in one)))


def test_corrected_has_frames_in_order_and_states_stacked():
    net, right = make(), make(corrected=True)
    right.load_state_dict(net.state_dict())
    x = frames(2, 4, 2)
    (y, (h, c)), (fixed, (hs, cs)) = net(x), right(x)
    assert_close(fixed, torch.cat((y[:, :, :3], y[:, :, 3:].flip(1)), 2))
    assert_close((torch.cat((*hs,), -1), torch.cat((*cs,), -1)), (h, c))
    assert hs.shape == (2, 2, 3, 6, 5)
    assert_close(hs[1], fixed[:, 0, 3:])  # where the backward direction ends
    assert_close(right(x, (hs, cs))[0][:, 0, :3], net(x, (h, c))[0][:, 0, :3])


def test_time_first():
    net, right, usual = make(batch_first=False), make(batch_first=False, corrected=True), make()
    for each in (right, usual):
        each.load_state_dict(net.state_dict())
    x = frames(4, 2, 2)
    assert_close(net(x), usual(x.transpose(0, 1)))
    assert_close(right(x)[0].shape, (4, 2, 6, 6, 5))
    assert_close(right(x)[0][:, :, :3], usual(x.transpose(0, 1))[0][:, :, :3].transpose(0, 1))


def test_frames_without_channels():
    net, right = (make(in_channels=1, batch_first=False, corrected=corrected) for corrected in (False, True))
    usual = make(in_channels=1)
    for each in (right, usual):
        each.load_state_dict(net.state_dict())
    x = frames(4, 2)
    assert_close(usual(x), usual(x.unsqueeze(2)))
    assert_close(net(x), usual(x.reshape(2, 4, 6, 5)))  # the original reinterprets the memory
    assert_close(right(x), right(x.unsqueeze(2)))


@pytest.mark.parametrize("training", [False, True])
def test_one_direction_continues_a_sequence_frame_by_frame(training):
    net = make(bidirectional=False).train(training)
    cell = copy.deepcopy(net.conv_lstm_cells[0])
    x = frames(2, 3, 2)
    y, final = net(x)
    state = (None, None)
    for t, frame in enumerate(x.unbind(1)):
        state = cell(frame, *state)
        assert_close(state[0], y[:, t])
    assert_close(state, final)


def test_states_left_in_old_files_do_no_harm():
    net = make()
    kept = copy.deepcopy(net.state_dict())
    stray = {"hidden_state": torch.zeros(1, 3, 6, 5), "cell_state": torch.zeros(1, 3, 6, 5)}
    inside = nn.ModuleDict({"lstm": make()})
    inside.load_state_dict({f"lstm.{key}": value for key, value in {**kept, **stray}.items()}, strict=True)
    assert_close(dict(inside["lstm"].state_dict()), dict(kept))


def test_a_seed_gives_the_originals_initial_values():
    torch.manual_seed(3)
    net = ConvLSTM(**USUAL)
    torch.manual_seed(3)
    for cell in net.conv_lstm_cells:
        for conv, channels in ((cell.gates[0].conv_x, 2), (cell.gates[0].conv_h, 3)):
            assert_close(dict(conv.state_dict()), dict(nn.Conv2d(channels, 12, 3, padding=1).state_dict()))


def test_extract_is_adopt_and_port_gives_the_same_numbers():
    net = make(bias=False, corrected=True)
    assert convgru.extract(net).equal(convgru.adopt(net.state_dict()))
    x = frames(2, 3, 2)
    y, state = convgru.port(net, "torch", batch_first=True)(x)
    want, (h, c) = net(x)
    assert_close(y, want)
    assert_close(state, ((h[0], c[0]), (h[1], c[1])))
    cell = net.conv_lstm_cells[1]
    bare = convgru.port(cell, "torch")
    assert_close(bare.step(x[:, 0])[0], cell(x[:, 0])[0])


@pytest.mark.parametrize("training", [False, True])
def test_other_precisions_copies_and_pickles(training):
    net = make().float().train(training)
    x = frames(2, 3, 2).float()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert_close(other(x), copy.deepcopy(net)(x))
    want = copy.deepcopy(net)(x)[0]
    low = copy.deepcopy(net).to(torch.bfloat16)(x.to(torch.bfloat16))[0]
    assert low.dtype == torch.bfloat16
    assert_close(low, want, eps=12)
    with torch.autocast("cpu", torch.bfloat16):
        y, (h, c) = net(x)
    assert {part.dtype for part in (y, h, c)} == {torch.float32}
    assert_close(y, want, budget=12 * torch.finfo(torch.bfloat16).eps)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make(stride=2), ValueError, "stride expected 1"),
        (lambda: make(stride=(1, 2)), ValueError, "stride expected 1"),
        (lambda: make(padding=0), ValueError, r"padding expected what keeps the size .* kernel \(3, 3\)"),
        (lambda: make(kernel_size=4, padding=2), ValueError, "padding expected"),
        (lambda: make(kernel_size=3, padding="valid"), ValueError, "padding expected"),
        (lambda: make()(frames(2, 3, 4)), ValueError, "2 input channels"),
        (lambda: make().train()(frames(2, 3, 4)), ValueError, "2 input channels"),
        (lambda: make()(frames(2, 3, 2), frames(2, 3)), TypeError, "a pair .* got Tensor"),
        (lambda: make()(None), TypeError, "a torch.Tensor, got NoneType"),
        (lambda: make()(frames(2, 3, 2), (frames(2, 3), frames(2, 3))), ValueError, "state"),
        (lambda: ConvLSTMCell(2, 3, 3, 1, 1, True)(frames(2, 2).float(), frames(2, 3)), TypeError, "together"),
    ],
)
def test_errors_name_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
