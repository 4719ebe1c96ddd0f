"""The fast sequence function: derivatives, what it keeps, graphs, what it leaves alone."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

import convgru
from convgru.errors import UnsupportedError
from convgru.torch import ConvGRU, ConvLSTM, ConvRNN
from convgru_torch import sequence_ops, sequence_plan, winograd_transforms

NETS = {
    "gru": lambda **o: ConvGRU(2, [3, 2], **o),
    "gru-after": lambda **o: ConvGRU(2, 2, reset="after", **o),
    "gru-wide": lambda **o: ConvGRU(1, 18, **o),
    "lstm": lambda **o: ConvLSTM(2, [2, 3], **o),
    "lstm-wide": lambda **o: ConvLSTM(1, 17, **o),
    "lstm-peephole": lambda **o: ConvLSTM(2, 2, peephole="hadamard", **o),
    "rnn": lambda **o: ConvRNN(2, 3, **o),
}


LENGTHS = {"lengths": torch.tensor([3, 1])}
CALLS = {
    **{name: (make, {}, {}) for name, make in NETS.items()},
    **{f"{name}, lean": (make, {"memory": "lean"}, {}) for name, make in NETS.items()},
    **{f"{name}, {n}-d": (NETS[name], {"ndim": n}, {}) for name in ("gru", "gru-after", "lstm", "rnn") for n in (1, 3)},
    **{f"{name}, lengths": (NETS[name], {"bidirectional": True}, LENGTHS) for name in NETS if "wide" not in name},
    **{f"{name}, last": (NETS[name], {"memory": "lean"}, {"last_only": True, **LENGTHS}) for name in ("gru", "lstm")},
    **{f"{name}, parts": (NETS[name], {"checkpoint_frames": 2}, {}) for name in ("gru", "lstm")},
    "gru, another geometry": (NETS["gru"], {"kernel_size": (2, 3), "dilation": (1, 2)}, {}),
    "lstm, another geometry": (NETS["lstm-peephole"], {"padding": "valid", "recurrent_kernel_size": (1, 2)}, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_derivatives(name):
    """First and second, of input, initial state and parameters."""
    make, options, given = CALLS[name]
    net = make(dtype=torch.float64, impl="fast", **options)
    names, parameters = zip(*net.named_parameters(), strict=True)
    size = {1: (4,), 2: (4, 5), 3: (3, 2, 2)}[net.spec.ndim]
    x = torch.randn(3, 2, net.spec.in_channels, *size, dtype=torch.float64, requires_grad=True)
    zero = net(x)[1]
    leaves, form = tree_flatten(zero)
    start = [torch.randn_like(leaf).requires_grad_() for leaf in leaves]

    def call(x, *rest):
        state = tree_unflatten(rest[: len(start)], form)
        arrays = dict(zip(names, rest[len(start) :], strict=True))
        y, final = functional_call(net, arrays, (x, state), given)
        return y, *tree_leaves(final)

    assert gradcheck(call, (x, *start, *parameters), fast_mode=True)
    assert gradgradcheck(call, (x, *start, *parameters), fast_mode=True)
    assert net.layers[0]["fwd"].ran.name == "fast"


def gradients(net, x, **call):
    """Of a sum that reads outputs and final state, and the outputs."""
    y, final = net(x, **call)
    leaves = tree_leaves(final)
    total = (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum() + sum(leaf.square().sum() for leaf in leaves)
    return [y, *torch.autograd.grad(total, list(net.parameters()))]


@pytest.mark.parametrize("memory", ["full", "lean"])
@pytest.mark.parametrize("name", NETS)
def test_chunks_change_nothing(name, memory, monkeypatch):
    """Of one frame, of three, of all; in both directions, with padding."""
    net = NETS[name](dtype=torch.float64, impl="fast", memory=memory, bidirectional=True)
    x = torch.randn(7, 2, net.spec.in_channels, 5, 4, dtype=torch.float64)
    want = gradients(net.set_execution(impl="readable"), x, lengths=[7, 4])
    net.set_execution(impl="fast")
    frame = 2 * 5 * 4 * 8 * net.spec.layers[0].gates * net.spec.layers[0].hidden_channels
    for frames in (1, 3, 100):
        monkeypatch.setattr(sequence_plan, "CHUNK", frames * frame)
        torch.testing.assert_close(gradients(net, x, lengths=[7, 4]), want, rtol=1e-11, atol=1e-11)


def test_no_gradient_and_last_frames_give_the_same():
    for name, make in NETS.items():
        net = make(impl="fast")
        x = torch.randn(4, 2, net.spec.in_channels, 6, 5)
        both = make(impl="fast", bidirectional=True)
        with torch.no_grad():
            torch.testing.assert_close(both(x, last_only=True)[0], both(x)[0][-1], rtol=0, atol=0, msg=name)
        y, final = net(x)
        with torch.no_grad():
            again, after = net(x)
            last, _ = net(x, last_only=True)
            state = None
            for frame in x:
                h, state = net.step(frame, state)
        for got, want in (
            (again, y),
            (last, y[-1]),
            (h, y[-1]),
            *zip(tree_leaves(after), tree_leaves(final), strict=True),
        ):
            torch.testing.assert_close(got, want.detach(), rtol=0, atol=3e-6, msg=name)
        assert all(a.is_contiguous() for a in (y, again, last, *tree_leaves(final), *tree_leaves(after)))


def saved_bytes(net, x):
    """Bytes that autograd keeps, each storage once, parameters and input left out."""
    known = {a.untyped_storage().data_ptr() for a in (x, *net.parameters())}
    seen = {}

    def pack(a):
        storage = a.untyped_storage()
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage.nbytes()
        return a

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda a: a):
        kept = net(x)
    del kept
    return sum(seen.values())


def test_what_is_kept():
    """Less than autograd keeps of the readable loop; lean, little more than the states."""
    x = torch.randn(8, 2, 1, 24, 24)
    for make in (lambda **o: ConvGRU(1, [32, 32], **o), lambda **o: ConvLSTM(1, [32, 32], **o)):
        sizes = {}
        for name, options in {
            "readable": {"impl": "readable"},
            "full": {"impl": "fast"},
            "lean": {"impl": "fast", "memory": "lean"},
        }.items():
            net = make(**options)
            sizes[name] = saved_bytes(net, x)
        state = 8 * 2 * 32 * 24 * 24 * 4 * (1 if net.spec.cell == "gru" else 2)
        assert sizes["full"] < 0.85 * sizes["readable"]
        assert 2 * state <= sizes["lean"] < 2.3 * state


def test_graphs_that_are_used_again():
    net, x = ConvGRU(2, 3, impl="fast"), torch.randn(4, 2, 2, 6, 5, requires_grad=True)
    y, (h,) = net(x)
    loss = y.square().sum() + h.sum()
    first = torch.autograd.grad(loss, [x, *net.parameters()], retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, [x, *net.parameters()]), first, rtol=0, atol=0)
    y, _ = net(x)
    y.mul_(2)  # the user's own: nothing that the gradient needs
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], 2 * torch.autograd.grad(net(x)[0].sum(), x)[0])
    y, _ = net(x)
    with torch.no_grad():
        net.layers[0]["fwd"].weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


BATCHES = {
    "is_grads_batched": lambda y, inputs, v: torch.autograd.grad(
        y, inputs, v, is_grads_batched=True, retain_graph=True
    ),
    "vmap": lambda y, inputs, v: torch.vmap(lambda each: torch.autograd.grad(y, inputs, each, retain_graph=True))(v),
}


@pytest.mark.parametrize("forced", [False, True], ids=["cpu", "as on CUDA"])
@pytest.mark.parametrize("way", BATCHES)
@pytest.mark.parametrize("name", ["gru", "lstm", "rnn"])
def test_gradients_in_batches(name, way, forced, monkeypatch):
    """Of several cotangents at once, as vectorised Jacobians have them, and one by one."""
    monkeypatch.setattr(sequence_plan, "FORCED", forced)
    net = NETS[name](dtype=torch.float64, impl="fast")
    x = torch.randn(3, 2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    y, inputs = net(x, **LENGTHS)[0], [x, *net.parameters()]
    cotangents = torch.randn(3, *y.shape, dtype=torch.float64)
    each = [torch.autograd.grad(y, inputs, v, retain_graph=True) for v in cotangents]
    torch.testing.assert_close(
        list(BATCHES[way](y, inputs, cotangents)), list(map(torch.stack, zip(*each, strict=True)))
    )


def test_an_input_that_depends_on_another():
    """A state made from x: the second derivative counts no path twice."""
    net = ConvGRU(2, 2, impl="fast", dtype=torch.float64)
    x = torch.randn(3, 1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda x: net(x, (x.mean(0).tanh(),))[0], (x,), fast_mode=True)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_and_hooks(reentrant):
    net, x = ConvGRU(2, [3, 3], impl="fast"), torch.randn(3, 1, 2, 5, 5, requires_grad=True)
    want = torch.autograd.grad(net(x)[0].square().sum(), x)[0]
    y, _ = torch.utils.checkpoint.checkpoint(net, x, use_reentrant=reentrant)
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, want)
    calls = Counter()
    for layer in net.modules():
        layer.register_forward_hook(lambda module, args, output: calls.update([type(module).__name__]))
    copy.deepcopy(net)(x)
    assert calls["Layer"] == 2


REASONS = {
    "norm": (lambda: ConvGRU(2, 4, norm=1), {}),
    "groups": (lambda: ConvGRU(2, 4, groups=2), {}),
    "padding_mode": (lambda: ConvRNN(2, 4, padding_mode="reflect"), {}),
    "updates": (lambda: ConvGRU(2, 4, updates=((1, 3), (3, 1))), {}),
    "peepholes": (lambda: ConvLSTM(2, 4, peephole="conv"), {}),
    "recurrent_stride": (lambda: ConvGRU(2, 4, recurrent_stride=2), {}),
    "zoneout": (lambda: ConvGRU(2, 4, zoneout=0.1), {}),
    "recurrent dropout": (lambda: ConvGRU(2, 4, recurrent_dropout=0.5), {}),
    "padding sets": (lambda: ConvGRU(2, 4, recurrent_activation="relu"), {"lengths": [3, 1]}),
    "context": (lambda: ConvGRU(2, 4), {"context": (torch.zeros(2, 12, 6, 5),)}),
    "float32": (lambda: ConvGRU(2, 4, dtype=torch.bfloat16), {}),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_it_does_not_take(reason):
    """It says why where it is insisted on; left to itself the readable loop runs."""
    make, call = REASONS[reason]
    net = make()
    x = torch.randn(3, 2, 2, 6, 5, dtype=next(net.parameters()).dtype)
    net(x, **call)
    assert net.layers[0]["fwd"].ran.name == "readable"
    assert reason in net.layers[0]["fwd"].ran.why
    with pytest.raises(UnsupportedError, match=f"impl='fast' applies, but .*{reason}"):
        net.set_execution(impl="fast")(x, **call)


def test_transforms_and_autocast_go_elsewhere():
    net, x = ConvGRU(2, 3), torch.randn(3, 2, 2, 6, 5)
    layer = net.layers[0]["fwd"]
    torch.func.jvp(lambda x: net(x)[0], (x,), (x,))
    assert "torch.func" in layer.ran.why
    with torch.autocast("cpu"):
        net(x)
    assert "autocast" in layer.ran.why
    with torch.autograd.forward_ad.dual_level():
        net(torch.autograd.forward_ad.make_dual(x, x))
    assert "forward-mode" in layer.ran.why
    net(x)
    assert layer.ran == ("fast", "")


def test_data_parallel_training(tmp_path):
    """One process of DistributedDataParallel: its hooks see the gradients."""
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net, x = ConvGRU(2, [3, 2], impl="fast"), torch.randn(3, 1, 2, 5, 5)
        want = torch.autograd.grad(net(x)[0].sum(), list(net.parameters()))
        nn.parallel.DistributedDataParallel(net)(x)[0].sum().backward()
        torch.testing.assert_close([p.grad for p in net.parameters()], list(want))
    finally:
        distributed.destroy_process_group()


def test_a_state_of_another_shape():
    layer = ConvGRU(2, 3, impl="fast").layers[0]["fwd"]
    with pytest.raises(ValueError, match=r"expected a state h of shape \(2, 3, 6, 5\), got \(2, 1, 6, 5\)"):
        layer(torch.randn(3, 2, 2, 6, 5), torch.zeros(2, 1, 6, 5))


@pytest.mark.parametrize("defaults", ["float64", "meta"])
def test_torchs_defaults_do_not_turn_onednn_off(defaults):
    """What is found in the first call stands for all of them."""
    found = sequence_ops.fusible.__wrapped__(), winograd_transforms._onednn() is None
    try:
        torch.set_default_dtype(getattr(torch, defaults, torch.float32))
        with torch.device("meta" if defaults == "meta" else "cpu"):
            assert (sequence_ops.fusible.__wrapped__(), winograd_transforms._onednn() is None) == found
    finally:
        torch.set_default_dtype(torch.float32)


def test_without_onednn_it_is_the_same():
    """Its operators are private to PyTorch, so there is a way without them."""
    net = ConvGRU(3, 20, impl="fast")
    x = torch.randn(3, 2, 3, 12, 12)
    want = gradients(net, x)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not sequence_plan.may_fuse(torch.float32)
        torch.testing.assert_close(gradients(net, x), want, rtol=1e-4, atol=1e-4)
    weights = convgru.extract(net)
    assert convgru.build(weights, "torch", impl="fast", memory="lean").execution.memory == "lean"
