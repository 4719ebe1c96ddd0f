"""torch.export and ONNX: batch and image may be free; T is fixed, and a free T is an error."""

import logging

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from convgru import UnsupportedError
from convgru.torch import ConvGRU, ConvLSTM, Forecaster
from convgru.torch.compat import biconvgru, convlstm_pytorch
from convgru.torch.compat import bidirectional_conv_lstm as seyongk

NETS = {
    "gru": (lambda: ConvGRU(2, 3), (4, 2, 2, 6, 5), 0),
    "batch first": (lambda: ConvLSTM(2, [3, 4], batch_first=True), (2, 4, 2, 6, 5), 1),
    "both ways": (lambda: ConvGRU(2, 3, bidirectional="stack"), (4, 2, 2, 6, 5), 0),
    "inside a model": (lambda: nn.Sequential(ConvGRU(2, 3)), (4, 2, 2, 6, 5), 0),
}
DROP_INS = {
    "drop-in": (lambda: convlstm_pytorch.ConvLSTM(2, 3, (3, 3), 1), (4, 2, 2, 6, 5), 0),
    "drop-in, batch first": (lambda: biconvgru.BiConvGRU((6, 5), 2, 3, 3, 1), (2, 4, 2, 6, 5), 1),
    "drop-in that trains a norm": (lambda: seyongk.ConvLSTM(2, 3, 3, 1, 1, True, False, True), (4, 2, 2, 6, 5), 0),
}
FREE = {"Dim": Dim("T"), "bounded Dim": Dim("T", min=2, max=9), "AUTO": Dim.AUTO, "DYNAMIC": Dim.DYNAMIC}
SENTENCE = "cannot be exported with a free time dimension"


class Step(nn.Module):
    """One frame and the state in, the same out: exportable for any number of frames."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, state):
        return self.net.step(x, state)


@pytest.fixture(autouse=True)
def quiet():
    """Torch logs each failed trace at length."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    torch._dynamo.reset()


@pytest.mark.parametrize("free", FREE)
@pytest.mark.parametrize("name", [*NETS, *DROP_INS])
def test_a_free_time_dimension_is_refused(name, free):
    make, shape, time = {**NETS, **DROP_INS}[name]
    with pytest.raises(UnsupportedError, match=f"Conv.* {SENTENCE}.*export one step"):
        export(make(), (torch.randn(shape),), dynamic_shapes=({time: FREE[free]},))


@pytest.mark.parametrize("free", FREE)
def test_a_free_time_dimension_is_refused_by_dynamo(free):
    """Where the program is traced from bytecode, the sentence stands within torch's own."""
    with pytest.raises(torch._dynamo.exc.Unsupported, match=SENTENCE):
        export(ConvGRU(2, 3), (torch.randn(4, 2, 2, 6, 5),), dynamic_shapes=({0: FREE[free]},), strict=True)


def test_a_forecaster_with_free_time_is_refused():
    shapes = {"x": {0: Dim("T")}, "steps": None}
    with pytest.raises(UnsupportedError, match=SENTENCE):
        export(Forecaster("gru", 2, 3), (torch.randn(4, 2, 2, 6, 5), 2), dynamic_shapes=shapes)


@pytest.mark.parametrize("name", NETS)
def test_everything_else_may_be_free(name):
    make, shape, time = NETS[name]
    net = make().eval()
    shapes = {1 - time: Dim("batch"), 3: Dim("height", min=3), 4: Dim("width", min=3)}
    program = export(net, (torch.randn(shape),), dynamic_shapes=(shapes,)).module()
    other = [4 if axis == time else 3 if axis == 1 - time else n + 2 * (axis > 2) for axis, n in enumerate(shape)]
    x = torch.randn(other)
    y, state = net(x)
    got, final = program(x)
    torch.testing.assert_close(got, y)
    torch.testing.assert_close(final, state)


def test_an_exported_step_runs_over_any_number_of_frames():
    net = ConvGRU(2, 3).eval()
    frames, state = torch.randn(7, 2, 2, 6, 5), (torch.zeros(2, 3, 6, 5),)
    y, final = net(frames, state)
    batch = Dim("batch")
    program = export(Step(net), (frames[0], state), dynamic_shapes=({0: batch}, ({0: batch},))).module()
    outputs = []
    for frame in frames:
        out, state = program(frame, state)
        outputs.append(out)
    torch.testing.assert_close(torch.stack(outputs), y)
    torch.testing.assert_close(state, final)


@pytest.mark.parametrize("free", [*FREE, "name", "dynamic_axes"])
def test_onnx_refuses_a_free_time_dimension(free):
    pytest.importorskip("onnxscript")
    asked = {"dynamic_shapes": ({0: FREE.get(free, "T")},)}
    if free == "dynamic_axes":
        asked = {"dynamic_axes": {"x": {0: "T"}}, "input_names": ["x"]}
    with pytest.raises(torch.onnx.errors.OnnxExporterError) as caught:
        torch.onnx.export(ConvGRU(2, 3).eval(), (torch.randn(4, 2, 2, 6, 5),), dynamo=True, verbose=False, **asked)
    assert isinstance(caught.value.__cause__, UnsupportedError)
    assert SENTENCE in str(caught.value)


def test_onnx_with_a_free_batch():
    pytest.importorskip("onnxscript")
    net, x = ConvGRU(2, 3).eval(), torch.randn(4, 2, 2, 6, 5)
    program = torch.onnx.export(net, (x,), dynamo=True, verbose=False, dynamic_shapes=({1: "batch"},))
    (given,) = program.model_proto.graph.input
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == [4, "batch", 2, 6, 5]


def test_compile_is_left_alone():
    """torch.compile makes one program for each T, dynamic=True or not."""
    net = ConvGRU(2, 3)
    compiled = torch.compile(net, backend="eager", dynamic=True)
    for time in (2, 3, 5):
        x = torch.randn(time, 1, 2, 5, 4)
        torch.testing.assert_close(compiled(x), net(x))
