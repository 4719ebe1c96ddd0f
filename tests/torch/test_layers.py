"""A layer is a module: hooks, replaced weights, parametrizations and summaries act on it."""

import copy
import pickle

import pytest
import torch
from support.torch_layers import DOUBLE, NETS, backward, call, layers_of, same, x_of
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import convgru
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, Forecaster

WEIGHT_HOOKS = {
    "weight_norm": lambda module: torch.nn.utils.weight_norm(module, "weight_hh"),
    "spectral_norm": lambda module: torch.nn.utils.spectral_norm(module, "weight_hh"),
    "prune": lambda module: prune.l1_unstructured(module, "weight_hh", amount=0.5),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*weight_norm:UserWarning")


def holder_of(layer):
    """The module that holds a layer's parameters, or the first ones."""
    return layer.updates[0] if layer.spec.layers[0].updates else layer


@pytest.mark.parametrize("name", NETS)
def test_hooks_see_each_layers_sequence(name):
    net, seen = NETS[name](), []
    for layer in layers_of(net):
        layer.register_forward_pre_hook(lambda m, args: seen.append((m, args[0])))
        layer.register_forward_hook(lambda m, args, output: seen.append((m, output[0])))
    call(net, x_of())
    called = [module for module, _ in seen[::2]]
    assert called == [module for module, _ in seen[1::2]]
    assert set(called) == set(layers_of(net))
    (layer, x), (_, y) = seen[:2]
    hidden = layer.spec.layers[0].hidden_channels
    assert tuple(x.shape) == (4, 2, 2, 4, 4)
    assert tuple(y.shape) == (4, 2, hidden, 4, 4)
    if not isinstance(net, Forecaster):
        assert called == layers_of(net)


def test_hooks_see_the_networks_and_the_readout_of_a_forecaster():
    net, called = NETS["forecaster"](), []
    for module in (net.encoder, net.decoder, net.readout):
        module.register_forward_hook(lambda m, args, output: called.append(m))
    net(x_of(), 2)
    assert called == [net.encoder, net.decoder, net.readout, net.decoder, net.readout]


def test_hooks_replace_a_layers_sequence():
    net, x = NETS["gru"]().eval(), x_of()
    plain, doubled = net(x)[0], net(x * 2)[0]
    before = net.layers[0]["fwd"].register_forward_pre_hook(lambda m, args: (args[0] * 2, *args[1:]))
    assert torch.equal(net(x)[0], doubled)
    before.remove()
    after = net.layers[1]["fwd"].register_forward_hook(lambda m, args, output: (output[0] + 1, output[1]))
    assert torch.equal(net(x)[0], plain + 1)
    after.remove()
    assert torch.equal(net(x)[0], plain)


@pytest.mark.parametrize("name", NETS)
def test_a_layer_by_itself_gives_what_it_gives_in_the_stack(name):
    net, calls = NETS[name]().eval(), {}
    for layer in layers_of(net):
        layer.register_forward_hook(lambda m, *seen: calls.update({m: seen}), with_kwargs=True)
    call(net, x_of())
    for layer, (args, kwargs, results) in calls.items():
        same(layer(*args, **kwargs), results)
        zeros = torch.utils._pytree.tree_map(torch.zeros_like, args[1])
        same(layer(args[0]), layer(args[0], zeros))


@pytest.mark.parametrize("hook", WEIGHT_HOOKS)
@pytest.mark.parametrize("name", NETS)
def test_weight_hooks_act(name, hook):
    """Hooks that replace a weight before each call change what is computed.

    Over two steps of an optimiser: each call computes the weight anew, and each backward pass
    reaches what it is made of.
    """
    net, plain, x = NETS[name](), NETS[name](), x_of()
    for layer in layers_of(net):
        WEIGHT_HOOKS[hook](holder_of(layer))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        _, slopes = backward(net, x)
        assert all(slope is not None and slope.isfinite().all() for slope in slopes.values())
        assert all(slope.any() for key, slope in slopes.items() if "weight_hh" in key)
        optimiser.step()
    plain.load_state_dict(weights_in_use(net.eval()))
    torch.testing.assert_close(call(net, x)[0], call(plain.eval(), x)[0], rtol=1e-12, atol=1e-12)
    weights = convgru.extract(net)  # what is extracted is what is computed, also right after a step of the optimiser
    for key, array in convgru.extract(plain).arrays.items():
        torch.testing.assert_close(weights.arrays[key], array, rtol=1e-12, atol=1e-12)


def weights_in_use(net):
    """The weights in use, read off the layers while they are called."""
    seen = {}
    names = {module: name for name, module in net.named_modules()}
    for layer in layers_of(net):

        def read(layer, args, output):
            prefix = names[layer]
            seen.update({f"{prefix}.{key}": array.detach().clone() for key, array in layer.current().items()})

        layer.register_forward_hook(read)
    call(net, x_of())
    return {**{k: a for k, a in net.state_dict().items() if k.startswith("readout")}, **seen}


@pytest.mark.parametrize("hook", WEIGHT_HOOKS)
def test_weight_hooks_act_on_cells(hook):
    """In the call and in ``step``."""
    cell, x = ConvGRUCell(2, 3, **DOUBLE), x_of(1)[0]
    WEIGHT_HOOKS[hook](cell)
    for _ in range(2):
        cell(x, cell.step(x)[1]).sum().backward()
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter -= 0.1 * parameter.grad
    plain = ConvGRUCell(2, 3, **DOUBLE)
    plain.load_state_dict(cell.eval().arrays(""))
    same(cell.step(x)[1], plain(x))


@pytest.mark.parametrize("name", NETS)
def test_parametrizations_act(name):
    net, x = NETS[name]().eval(), x_of()
    plain = call(net, x)[0]
    for layer in layers_of(net):
        parametrizations.weight_norm(holder_of(layer), "weight_hh")
    torch.testing.assert_close(call(net, x)[0], plain, rtol=1e-12, atol=1e-12)
    _, slopes = backward(net, x)
    assert all(slope.any() for key, slope in slopes.items() if "weight_hh" in key)
    with parametrize.cached():
        same(call(net, x)[0], call(net, x)[0])
    for layer in layers_of(net):
        parametrizations.spectral_norm(holder_of(layer), "weight_ih")
    assert not torch.allclose(call(net, x)[0], plain)


@pytest.mark.parametrize("name", NETS)
def test_a_replaced_weight_is_used(name):
    """As LoRA does it: a plain tensor in the place of the parameter, or another parameter."""
    net, x = NETS[name](), x_of()
    for layer in layers_of(net):
        holder = holder_of(layer)
        base = holder.weight_hh.detach()
        del holder.weight_hh
        holder.a = nn.Parameter(torch.randn(base.shape[0], 1, **DOUBLE))
        holder.b = nn.Parameter(torch.randn(1, base[0].numel(), **DOUBLE))
        holder.weight_hh = base + (holder.a @ holder.b).reshape(base.shape)
        holder.bias = nn.Parameter(holder.bias + 1)
    _, slopes = backward(net, x)
    assert all(slope is not None and slope.any() for slope in slopes.values())
    other = NETS[name]()
    other.load_state_dict({**dict(other.state_dict()), **net.arrays()})
    same(backward(other, x)[0], backward_output(net, x))


def backward_output(net, x):
    torch.manual_seed(0)
    return call(net, x)[0].detach()


WRONG = {
    "shape": (lambda w: nn.Parameter(w[:, :, :1]), ValueError, r"{} expected shape \(9, 3, 3, 3\), got \(9, 3, 1, 3\)$"),
    "shape that broadcasts": (lambda w: nn.Parameter(w[:1]), ValueError, r"{} expected shape \(9, .*, got \(1, 3, 3, 3\)$"),
    "dtype": (lambda w: nn.Parameter(w.float()), TypeError, r"expected one dtype for .*, got float64 and float32 \({}\)$"),
    "nothing": (lambda w: None, TypeError, r"expected {} to be a torch\.Tensor, got NoneType$"),
}  # fmt: skip


@pytest.mark.parametrize("how", WRONG)
def test_a_replaced_weight_that_does_not_fit_is_refused(how):
    change, kind, message = WRONG[how]
    net = ConvGRU(2, 3, num_layers=2, **DOUBLE)
    layer = net.layers[1]["fwd"]
    layer.weight_hh = change(layer.weight_hh.detach())
    with pytest.raises(kind, match="^ConvGRU " + message.format(r"layers\.1\.fwd\.weight_hh")):
        net(x_of())
    cell = ConvGRUCell(2, 3, **DOUBLE)
    cell.weight_hh = change(cell.weight_hh.detach())
    with pytest.raises(kind, match="^ConvGRUCell " + message.format("weight_hh")):
        cell.step(x_of()[0])


def test_what_a_hook_puts_in_the_place_of_a_state_is_checked():
    net = ConvGRU(2, 3, **DOUBLE)
    net.layers[0]["fwd"].register_forward_pre_hook(lambda m, args: (args[0], args[1][:1]))
    with pytest.raises(ValueError, match=r"^ConvGRU layer expected a state h of shape \(2, 3, 4, 4\), got \(1, 3,"):
        net(x_of())


@pytest.mark.parametrize("name", NETS)
def test_torchinfo_lists_the_layers(name):
    torchinfo = pytest.importorskip("torchinfo")
    net = NETS[name]()
    inputs = [x_of(), 3] if isinstance(net, Forecaster) else [x_of()]
    summary = torchinfo.summary(net, input_data=inputs, verbose=0, depth=6)
    listed = [info for info in summary.summary_list if info.class_name == "Layer"]
    assert {info.module for info in listed} == set(layers_of(net))
    assert all(info.executed for info in listed)
    assert summary.total_params == sum(p.numel() for p in net.parameters())


def test_repr_shows_the_children():
    assert repr(ConvGRU(2, [3, 4], bidirectional=True, batch_first=True)) == (
        "ConvGRU(\n"
        "  2, [3, 4], kernel_size=3, num_layers=2, bidirectional='layer', batch_first=True\n"
        "  (layers): ModuleList(\n"
        "    (0): ModuleDict(\n"
        "      (fwd): Layer('gru', 2, 3, kernel_size=3)\n"
        "      (bwd): Layer('gru', 2, 3, kernel_size=3, reverse=True)\n"
        "    )\n"
        "    (1): ModuleDict(\n"
        "      (fwd): Layer('gru', 6, 4, kernel_size=3)\n"
        "      (bwd): Layer('gru', 6, 4, kernel_size=3, reverse=True)\n"
        "    )\n"
        "  )\n"
        ")"
    )
    assert repr(ConvGRUCell(2, 3)) == "ConvGRUCell(2, 3, kernel_size=3)"
    assert "(readout): Conv2d(3, 1, kernel_size=(1, 1)" in repr(Forecaster("gru", 1, 3))


@pytest.mark.parametrize("name", NETS)
def test_layers_are_copied_and_pickled(name):
    net, x = NETS[name]().eval(), x_of()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        same(call(other, x), call(net, x))


HOOKS = {
    "fewer frames": lambda y: y[1:],
    "fewer channels": lambda y: y[:, :, :-1],
    "one image": lambda y: y[..., :1],
    "no tensor": lambda y: None,
}


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_returns_another_shape_is_refused(name):
    net = ConvGRU(2, [3, 2])
    net.layers[1]["fwd"].register_forward_hook(lambda module, args, out: (HOOKS[name](out[0]), out[1]))
    with pytest.raises(
        ValueError, match=r"ConvGRU layers\.1\.fwd expected an output of shape \(3, 2, 2, 4, 4\) .*, got"
    ):
        net(torch.randn(3, 2, 2, 4, 4))


@pytest.mark.parametrize("shape", [(3, 2, 2, 4, 4), (3, 2, 4, 4)], ids=["batched", "unbatched"])
def test_a_hook_may_return_the_state_as_a_list(shape):
    net, x = ConvLSTM(2, 3), torch.randn(shape)
    y, ((h, c),) = net(x)
    net.layers[0]["fwd"].register_forward_hook(lambda module, args, out: [out[0], list(out[1])])
    got, (state,) = net(x)
    assert type(state) is tuple
    same((got, *state), (y, h, c))
