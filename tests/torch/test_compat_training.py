"""Drop-ins for pytorch_convgru, BiConvGRU, ConvLSTM_pytorch train as their equations in torch."""

import copy
import io
import math
import pickle
from functools import partial

import pytest
import torch
from support import assert_close
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm
from torch.nn.utils.spectral_norm import SpectralNorm

from convgru.torch.compat import biconvgru, convlstm_pytorch, pytorch_convgru
from convgru.torch.compat.convolutional_rnn import Conv2dGRU

NETS = {
    "pytorch_convgru": lambda: pytorch_convgru.ConvGRU(2, [3, 4], [3, 4], 2),
    "biconvgru": lambda: biconvgru.BiConvGRU((6, 5), 2, [3, 4], [3, (5, 4)], 2, return_all_layers=True, dropout=0.4),
    "biconvgru-pooled": lambda: biconvgru.BiConvGRU((6, 5), 2, 3, 3, 1, bias=False, output_size=(4, 3)),
    "convlstm_pytorch": lambda: convlstm_pytorch.ConvLSTM(2, [3, 4], [(3, 3), (5, 2)], 2, True, True, True),
    "convlstm_pytorch-no-bias": lambda: convlstm_pytorch.ConvLSTM(2, 3, (3, 3), 1, bias=False),
}


def conv(p, key, *parts):
    weight = p[f"{key}.weight"]
    around = [n for k in weight.shape[:1:-1] for n in ((k - 1) // 2, k // 2)]
    return F.conv2d(F.pad(torch.cat(parts, 1), around), weight, p.get(f"{key}.bias"))


def new(z, h, n):
    return (1 - z) * h + z * n


def plain_pytorch_convgru(net, p, x):
    """Two frames of one sequence: all states after each."""
    hidden, states = [x.new_zeros(x.shape[0], n, *x.shape[3:]) for n in net.hidden_sizes], []
    for frame in x.unbind(1):
        for layer, h in enumerate(hidden):
            key = f"ConvGRUCell_{layer:02d}"
            z, r = (torch.sigmoid(conv(p, f"{key}.{gate}", frame, h)) for gate in ("update_gate", "reset_gate"))
            hidden[layer] = frame = new(z, h, torch.tanh(conv(p, f"{key}.out_gate", frame, r * h)))
        states += hidden
    return states


def plain_half(half, p, way, x):
    outputs, states = [], []
    size = half.input_size
    if isinstance(half.downsample, nn.AdaptiveAvgPool2d):
        x = F.adaptive_avg_pool2d(x.flatten(0, 1), size).unflatten(0, x.shape[:2])
    for layer, channels in enumerate(half.hidden_dim):
        key, h, ys = f"{way}.cells.{layer}", x.new_zeros(x.shape[0], channels, *x.shape[3:]), []
        for frame in x.unbind(1):
            r, z = torch.sigmoid(conv(p, f"{key}.conv_gates", frame, h)).chunk(2, 1)
            h = new(z, h, torch.tanh(conv(p, f"{key}.conv_candidate", frame, r * h)))
            ys.append(h)
        x = F.dropout(torch.stack(ys, 1), getattr(half.dropout, "p", 0.0), half.training)
        outputs.append(x)
        states.append(h)
    return outputs, states


def plain_biconvgru(net, p, x):
    forward, ends = plain_half(net.forward_gru, p, "forward_gru", x)
    reverse, starts = plain_half(net.reverse_gru, p, "reverse_gru", x.flip(1))
    first = 0 if net.forward_gru.return_all_layers else -1
    joined = [torch.cat((f, r.flip(1)), 2) for f, r in zip(forward, reverse, strict=True)]
    return [*joined[first:], *ends[first:], *starts[first:]]


def plain_convlstm_pytorch(net, p, x):
    outputs, states = [], []
    x = x if net.batch_first else x.transpose(0, 1)
    for layer, channels in enumerate(net.hidden_dim):
        h = c = x.new_zeros(x.shape[0], channels, *x.shape[3:])
        ys = []
        for frame in x.unbind(1):
            i, f, o, g = conv(p, f"cell_list.{layer}.conv", frame, h).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        x = torch.stack(ys, 1)
        outputs.append(x)
        states += [h, c]
    return outputs + states


PLAIN = {
    "pytorch_convgru": plain_pytorch_convgru,
    "biconvgru": plain_biconvgru,
    "convlstm_pytorch": plain_convlstm_pytorch,
}


def run(net, x):
    """Everything that the net returns for (B, T, C, H, W), in one list."""
    if not isinstance(net, pytorch_convgru.ConvGRU):
        return torch.utils._pytree.tree_leaves(net(x))
    hidden, states = None, []
    for frame in x.unbind(1):
        hidden = net(frame, hidden)
        states += hidden
    return states


def once(net, x):
    """What one call of the net takes of (B, T, C, H, W)."""
    return x[:, 0] if isinstance(net, pytorch_convgru.ConvGRU) else x


def loss_of(results):
    """A sum in which every number has a weight of its own."""
    weights = [torch.linspace(-1, 1, result.numel(), dtype=result.dtype) for result in results]
    return sum((result.flatten() * weight).sum() for result, weight in zip(results, weights, strict=True))


@pytest.mark.parametrize("name", NETS)
def test_steps_of_adam_are_those_of_the_plain_equations(name):
    """Dropout included: the same random numbers fall on the same places."""
    net = NETS[name]().double()
    plain = {key: value.detach().clone().requires_grad_() for key, value in net.named_parameters()}
    x = torch.randn(2, 3, 2, 6, 5, dtype=torch.float64)
    optimisers = torch.optim.Adam(net.parameters(), 0.01), torch.optim.Adam(plain.values(), 0.01)
    for seed in range(2):
        calls = (lambda: run(net, x), lambda: PLAIN[name.partition("-")[0]](net, plain, x))
        results = []
        for optimiser, call in zip(optimisers, calls, strict=True):
            torch.manual_seed(seed)
            results.append(call())
            optimiser.zero_grad()
            loss_of(results[-1]).backward()
            optimiser.step()
        assert_close(*results)
        assert_close(dict(net.named_parameters()), plain)


@pytest.mark.parametrize("name", NETS)
def test_gradients_against_finite_differences(name):
    net = NETS[name]().double().eval()
    x = torch.randn(1, 2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    names = [key for key, _ in net.named_parameters()]

    def call(x, *parameters):
        results = functional_call(net, dict(zip(names, parameters, strict=True)), (once(net, x),))
        return tuple(torch.utils._pytree.tree_leaves(results))

    parameters = [value.detach().clone().requires_grad_() for value in net.parameters()]
    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)


def test_initial_values_are_the_originals_for_the_same_seed():
    torch.manual_seed(3)
    cell = pytorch_convgru.ConvGRUCell(2, 4, 3)
    for gate in (cell.reset_gate, cell.update_gate, cell.out_gate):
        rows = gate.weight.detach().flatten(1)
        assert_close(rows @ rows.T, torch.eye(4))
        assert not gate.bias.any()
    torch.manual_seed(3)
    lstm = convlstm_pytorch.ConvLSTM(2, 4, (3, 3), 2)
    torch.manual_seed(3)
    for cell, channels in zip(lstm.cell_list, (2, 4), strict=True):
        want = nn.Conv2d(channels + 4, 16, 3)
        assert torch.equal(cell.conv.weight, want.weight)
        assert torch.equal(cell.conv.bias, want.bias)
    bound = 1 / math.sqrt(6 * 9)
    gates = biconvgru.ConvGRUCell((6, 5), 2, 4, 3).conv_gates.weight
    assert 0.9 * bound < gates.abs().max() <= bound


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_dtype(name, dtype):
    net = NETS[name]().to(dtype)
    results = run(net, torch.randn(1, 2, 2, 6, 5, dtype=dtype))
    assert {result.dtype for result in results} == {dtype}
    loss_of(results).backward()
    assert {value.grad.dtype for value in net.parameters()} == {dtype}


@pytest.mark.parametrize("name", NETS)
def test_autocast(name):
    net, x = NETS[name]().eval(), torch.randn(1, 2, 2, 6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        rough = run(net, x)
    assert_close(rough, run(net, x), budget=6 * torch.finfo(torch.bfloat16).eps)
    loss_of(rough).backward()
    assert all(value.grad is not None for value in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_copies_are_the_same_and_apart(name):
    net, x = NETS[name]().eval(), torch.randn(1, 2, 2, 6, 5)
    saved = io.BytesIO()
    torch.save(net, saved)
    saved.seek(0)
    want = run(net, x)
    others = copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(saved, weights_only=False)
    for value in net.parameters():
        value.data.zero_()
    for other in others:
        assert_close(run(other, x), want, eps=0)


@pytest.mark.parametrize("name", NETS)
def test_torch_func(name):
    net, x = NETS[name]().eval(), torch.randn(3, 1, 2, 2, 6, 5)
    parameters = dict(net.named_parameters())

    def loss(parameters, x):
        return loss_of(torch.utils._pytree.tree_leaves(functional_call(net, parameters, (once(net, x),))))

    each = vmap(grad(loss), (None, 0))(parameters, x)
    for i in range(3):
        want = torch.autograd.grad(loss(parameters, x[i]), [*parameters.values()])
        assert_close([value[i] for value in each.values()], [*want])


@pytest.mark.parametrize("name", NETS)
def test_compile_is_one_graph(name):
    torch._dynamo.reset()
    net, x = NETS[name]().eval(), torch.randn(1, 2, 2, 6, 5)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    got, want = (torch.utils._pytree.tree_leaves(each(once(net, x))) for each in (compiled, net))
    assert_close(got, want)


@pytest.mark.parametrize("name", NETS)
def test_moves_between_devices(name):
    net = NETS[name]().to("meta")
    results = run(net, torch.randn(1, 2, 2, 6, 5, device="meta"))
    assert {result.device.type for result in results} == {"meta"}


@pytest.mark.parametrize(
    "wrap",
    [parametrizations.weight_norm, spectral_norm, partial(prune.l1_unstructured, name="weight", amount=0.5)],
    ids=["parametrisation", "hook", "pruning"],
)
def test_weights_that_are_computed_are_computed_in_each_call(wrap):
    """Also those that wait for the call of a convolution which nobody calls."""
    net, other = NETS["convlstm_pytorch"](), NETS["convlstm_pytorch"]()
    other.load_state_dict(net.state_dict())
    conv, x = net.cell_list[0].conv, torch.randn(1, 2, 2, 6, 5)
    wrap(conv)
    optimiser = torch.optim.SGD(conv.parameters(), 0.1)
    for _ in range(2):
        results = run(net, x)
        assert not torch.equal(conv.weight, other.cell_list[0].conv.weight)
        other.cell_list[0].conv.load_state_dict({"weight": conv.weight.detach(), "bias": conv.bias.detach()})
        assert_close(results, run(other, x))
        loss_of(results).backward()
        optimiser.step()


def test_spectral_norm_takes_one_step_in_a_call(monkeypatch):
    """Where parameters stand on the module that is called, and on one that nobody calls."""
    steps = []
    compute = SpectralNorm.compute_weight

    def one_more(norm, module, do_power_iteration):
        steps.append(do_power_iteration)
        return compute(norm, module, do_power_iteration)

    monkeypatch.setattr(SpectralNorm, "compute_weight", one_more)
    net, other = Conv2dGRU(2, 4, 3), NETS["convlstm_pytorch"]()
    for module, name, outer in ((net, "weight_ih_l0", net), (other.cell_list[0].conv, "weight", other)):
        spectral_norm(module, name)
        steps.clear()
        outer(torch.randn(2, 1, 2, 6, 5))
        assert steps == [True]
