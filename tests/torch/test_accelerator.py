"""The fast sequence function of accelerators, on a CPU: with torch's operations, and with Triton.

Triton's kernels run in its interpreter, and are compiled, but not run, for a GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import accelerated
from support.accelerated import needs_triton
from torch.autograd import gradcheck, gradgradcheck

from convgru import parity
from convgru.errors import UnsupportedError
from convgru.parity import table as case_table
from convgru.spec import ForecasterSpec
from convgru.spec.shapes import state_leaves
from convgru.torch import ConvGRU, ConvLSTM, ConvRNN, forecast, run
from convgru_torch import sequence_plan
from convgru_torch.accelerator import cells, pointwise
from convgru_torch.numpy_bridge import to_tensor

TABLE = case_table.table()


@pytest.fixture(params=[False, True], ids=["contiguous", "channels_last"])
def forced(request, monkeypatch):
    accelerated.force(monkeypatch, request.param)


@pytest.fixture
def interpreter(forced, monkeypatch):
    with accelerated.interpreted(monkeypatch) as launchers:
        yield launchers


def _tensors(value):
    if isinstance(value, dict):
        return {name: _tensors(each) for name, each in value.items()}
    return to_tensor(value) if hasattr(value, "dtype") and not isinstance(value, torch.Tensor) else value


class Fast:
    """The table's network: ours, the fast implementation insisted on."""

    tensors = "torch"
    options = {"impl": "fast"}  # noqa: RUF012

    def run(self, spec, arrays, x, state, **call):
        call = {name: _tensors(value) for name, value in call.items()}
        if isinstance(spec, ForecasterSpec):
            steps = call.pop("steps")
            return forecast(spec, arrays, x, steps, state, **call, **self.options)
        return run(spec, arrays, x, state, **call, **self.options)


class Lean(Fast):
    """The same, with gates computed again."""

    options = {"impl": "fast", "memory": "lean"}  # noqa: RUF012


def taken(cases, module=Fast, dtypes=("float64",)):
    """Compare, and return the names of the cases that were computed."""
    report = parity.run(cases, module=module, dtypes=list(dtypes), controls=False)
    assert report.ok, report.failures()
    return {row.case for row in report.rows}


def test_the_case_table(forced):
    """Forward and gradient, by torch's operations."""
    assert len(taken(TABLE[::4])) > 30
    assert len(taken(TABLE[1::9], Lean)) > 10
    assert len(taken(TABLE[2::16], Fast, ["float32"])) > 8


CELLS = ("gru-before", "gru-after", "lstm", "rnn-tanh")
SMALL = [f"{cell}-{kind}" for cell in CELLS for kind in ("1d", "lengths")]
SMALL += ["rnn-relu-1d", "lstm-peephole-channel", "lstm-peephole-image", "lstm-hard-0.2", "gru-after-hard"]
SMALL += ["gru-before-leaky"]


@needs_triton
def test_triton(interpreter):
    """The kernels on small members of the case table."""
    cases = [case for case in TABLE if case.name in SMALL]
    assert taken(cases, dtypes=["float64"]) == set(SMALL)
    assert taken(cases[::3], Lean, ["float32"]) == {case.name for case in cases[::3]}


@needs_triton
@pytest.mark.parametrize(("activation", "below"), [("relu", 0.0), ("leaky_relu", -float("inf"))])
def test_infinite_numbers_in_triton(activation, below, interpreter):
    net = ConvRNN(1, 1, 1, activation=activation, impl="fast", bias=False)
    torch.nn.init.ones_(net.layers[0]["fwd"].weight_ih)
    x = torch.tensor([-float("inf"), float("inf"), 2.0]).reshape(1, 1, 1, 1, 3).requires_grad_()
    y, _ = net(x)
    y.backward(torch.ones_like(y))
    assert y.flatten().tolist() == [below, float("inf"), 2.0]
    assert x.grad.flatten().tolist() == pytest.approx([0.01 if below else 0.0, 1.0, 1.0])


@pytest.mark.parametrize("name", CELLS)
def test_a_wrong_gate_order_fails(name, forced, monkeypatch):
    convolve = cells.Cell.convolve

    def swapped(self, x, weight):
        gates = convolve(self, x, weight)
        return gates.roll(self.plan.hidden if gates.shape[1] > self.plan.hidden else 1, 1)

    monkeypatch.setattr(cells.Cell, "convolve", swapped)
    case = [case for case in TABLE if case.name == f"{name}-2d"]
    assert not parity.run(case, module=Fast, dtypes=["float64"], controls=False).ok


@needs_triton
@pytest.mark.parametrize("kernel", ["gru_reset", "gru_after", "lstm"])
def test_a_wrong_gate_order_fails_in_triton(kernel, interpreter, monkeypatch):
    launch = getattr(interpreter, kernel)

    def swapped(frames, a, u, *rest):
        launch(frames, a, u.roll(frames.hidden, 1), *rest)

    monkeypatch.setattr(interpreter, kernel, swapped)
    name = {"gru_reset": "gru-before-1d", "gru_after": "gru-after-1d", "lstm": "lstm-1d"}[kernel]
    case = [case for case in TABLE if case.name == name]
    assert not parity.run(case, module=Fast, dtypes=["float64"], controls=False).ok


NETS = {
    "gru": lambda **o: ConvGRU(2, [3, 2], **o),
    "gru-after": lambda **o: ConvGRU(2, 3, reset="after", **o),
    "lstm": lambda **o: ConvLSTM(2, 3, peephole="hadamard", **o),
    "rnn": lambda **o: ConvRNN(2, 3, **o),
}


def results(net, x, **call):
    """Outputs, final states, and gradients of all parameters and of x."""
    x = x.detach().requires_grad_()
    y, final = net(x, **call)
    leaves = [leaf for _, leaf in state_leaves(net.spec, final)]
    total = (y.float() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum() + sum(
        leaf.float().square().sum() for leaf in leaves
    )
    return [y, *leaves, *torch.autograd.grad(total, [x, *net.parameters()])]


def compare(name, eps, how, double, x, **call):
    """Results of a network against those of the same numbers in float64."""
    for got, want in zip(how, results(double, x.double(), **call), strict=True):
        error = (got.detach().double() - want.detach()).abs().max() / max(1.0, want.abs().max())
        assert error < 16 * eps, name


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NETS)
def test_low_precision(name, low, forced):
    """States in the networks' own dtype, or in float32; arithmetic in float32."""
    net = NETS[name](dtype=low, impl="fast")
    x = torch.randn(4, 2, 2, 5, 4).to(low)
    double = NETS[name](dtype=torch.float64, impl="readable")
    double.load_state_dict({key: value.double() for key, value in net.state_dict().items()})
    for options in ({}, {"state_dtype": torch.float32}, {"state_dtype": torch.float32, "memory": "lean"}):
        got = results(net.set_execution(**options), x, lengths=[4, 2])
        assert net.layers[0]["fwd"].ran.name == "fast"
        assert got[1].dtype == options.get("state_dtype", low)
        compare(name, torch.finfo(low).eps, got, double, x, lengths=[4, 2])


@needs_triton
@pytest.mark.parametrize("name", NETS)
def test_low_precision_in_triton(name, interpreter):
    net = NETS[name](dtype=torch.bfloat16, impl="fast", state_dtype=torch.float32)
    x = torch.randn(2, 2, 2, 3, 4).bfloat16()
    double = NETS[name](dtype=torch.float64, impl="readable")
    double.load_state_dict({key: value.double() for key, value in net.state_dict().items()})
    compare(name, 2.0**-7, results(net, x), double, x)


@pytest.mark.parametrize("name", NETS)
def test_autocast(name, forced):
    """Convolutions in bfloat16, everything else in float32; parameters keep their dtype."""
    net, x = NETS[name](impl="fast"), torch.randn(3, 2, 2, 5, 4)
    double = NETS[name](dtype=torch.float64, impl="readable")
    double.load_state_dict({key: value.double() for key, value in net.state_dict().items()})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = results(net, x)
        assert net.layers[0]["fwd"].ran.name == "fast"
    assert {a.dtype for a in got} == {torch.float32}
    compare(name, 2.0**-7, got, double, x)


@pytest.mark.parametrize("name", NETS)
def test_derivatives(name, forced):
    """First and second; the second by the readable implementation."""
    net = NETS[name](dtype=torch.float64, impl="fast")
    x = torch.randn(3, 1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: net(x)[0], (x,), fast_mode=True)
    assert gradgradcheck(lambda x: net(x)[0], (x,), fast_mode=True)


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("outer", ["relu", "tanh", "leaky_relu"])
@pytest.mark.parametrize("cell", [ConvGRU, ConvLSTM])
def test_gates_that_padding_sets(cell, outer, accelerated, monkeypatch):
    """Where σ is no sigmoid, a gate that padding sets still has no gradient."""
    monkeypatch.setattr(sequence_plan, "FORCED", accelerated)
    net = cell(2, 2, recurrent_activation=outer, dtype=torch.float64)
    x = torch.randn(4, 2, 2, 3, 4, dtype=torch.float64)
    got = results(net, x, lengths=[4, 1])
    assert net.layers[0]["fwd"].ran.name == ("fast" if accelerated else "readable")
    torch.testing.assert_close(got, results(net.set_execution(impl="readable"), x, lengths=[4, 1]))


@needs_triton
def test_compiled_programs_run_the_kernels(interpreter, monkeypatch):
    """In them a layer is one operator, which runs what would run without torch.compile."""
    calls, launch = [], interpreter.rnn
    monkeypatch.setattr(interpreter, "rnn", lambda *given: (calls.append(1), launch(*given))[1])
    net, x = ConvRNN(2, 3, dtype=torch.float64), torch.randn(3, 1, 2, 3, 3, dtype=torch.float64)
    got = torch.compile(net, backend="aot_eager", fullgraph=True)(x)
    assert len(calls) == 3
    torch.testing.assert_close(got, net.set_execution(impl="readable")(x))


def test_what_it_does_not_take(forced):
    net = ConvGRU(2, 4, impl="fast", dtype=torch.float64)
    with torch.autocast("cpu"), pytest.raises(UnsupportedError, match="autocast is on"):
        net(torch.randn(2, 1, 2, 3, 3, dtype=torch.float64))


def test_without_triton(monkeypatch):
    """It is never required: torch's operations take its place, and doctor says so."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(sys.modules, "convgru_torch.accelerator.launch", None)
    pointwise.forget()
    assert "Triton is not installed" in pointwise.why_not_triton("cpu")
    assert pointwise.functions(torch.zeros(1)) is pointwise.Plain
    monkeypatch.undo()
    pointwise.forget()
    assert "do not run on 'cpu'" in pointwise.why_not_triton("cpu")


@needs_triton
@pytest.mark.parametrize("fault", [lambda *given: given[6].zero_(), lambda *given: 1 / 0])
def test_where_triton_does_not_work(fault, interpreter, monkeypatch):
    """It is tried once: a machine without a compiler, say, is served by torch's operations."""
    monkeypatch.setattr(interpreter, "rnn", fault)
    pointwise._found.clear()
    assert "Triton" in pointwise.why_not_triton("cpu")
    assert pointwise.functions(torch.zeros(1)) is pointwise.Plain


@needs_triton
def test_kernels_compile_for_a_gpu(tmp_path):
    """What the interpreter does not check: types, and that nothing spills to memory."""
    script = Path(__file__).parents[1] / "support" / "compile_kernels.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "local" not in done.stdout
    assert done.stdout.count(" s\n") == 20
