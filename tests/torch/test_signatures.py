"""What help(), editors and type checkers show of constructors, and unknown options."""

import inspect

import pytest

import convgru
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, ConvRNNCell, Execution, Forecaster


def test_signatures_show_every_option():
    """help() shows the arguments of convgru.spec.network, their defaults, and torch's."""
    core = inspect.signature(convgru.network).parameters
    torch_options = {"batch_first", "device", "dtype", *Execution.__dataclass_fields__}
    for kind, missing in (
        (ConvGRU, {"peephole", "state_size"}),
        (ConvLSTM, {"reset"}),
        (ConvRNN, {"reset", "peephole", "state_size"}),
    ):
        shown = inspect.signature(kind).parameters
        assert set(shown) == (set(core) - {"cell"} - missing) | torch_options
        assert all(p.default == core[n].default for n, p in shown.items() if n in core and n not in ("reset",))
    assert inspect.signature(ConvGRU).parameters["reset"].default == "before"
    assert "zoneout" in inspect.signature(Forecaster).parameters
    reset = inspect.signature(Forecaster).parameters["reset"]  # whose default its cell decides
    assert (reset.default, str(reset.annotation)) == (None, "typing.Optional[typing.Literal['before', 'after']]")
    assert "bidirectional" not in inspect.signature(ConvGRUCell).parameters
    for kind in (ConvGRU, ConvLSTM, ConvRNN, ConvGRUCell, ConvLSTMCell, ConvRNNCell, Forecaster):
        constructor = inspect.signature(kind.__init__).parameters
        assert list(constructor)[1:] == list(inspect.signature(kind).parameters)
        assert not any(p.kind is p.VAR_KEYWORD for p in constructor.values())


def test_a_subclass_shows_its_own_signature():
    class Flow(ConvGRU):
        def __init__(self, channels: int, *, iterations: int = 12) -> None:
            super().__init__(channels, 8)
            self.iterations = iterations

    assert list(inspect.signature(Flow).parameters) == ["channels", "iterations"]
    assert Flow(2).spec == ConvGRU(2, 8).spec
    with pytest.raises(TypeError, match="iterationz"):
        Flow(2, iterationz=3)


def test_string_options_are_literals():
    """Type checkers and editors know the values of every string option."""
    for kind in (ConvGRU, ConvLSTM, ConvRNN, Forecaster):
        for name, shown in inspect.signature(kind).parameters.items():
            text = str(shown.annotation)
            assert "str" not in text or name == "device", (name, text)
    assert "Literal['before', 'after']" in str(inspect.signature(ConvGRU).parameters["reset"].annotation)


@pytest.mark.parametrize("call", [
    lambda: ConvRNN(2, 3, reset="after"), lambda: ConvGRU(2, 3, peephole="conv"), lambda: ConvGRUCell(2, 3, dropout=0.1),
    lambda: Forecaster("gru", 1, 3, bidirectional=True), lambda: ConvLSTM(2, 3, has_bias=True),
])  # fmt: skip
def test_options_that_are_not_there(call):
    with pytest.raises(TypeError, match=r"^\w+\(\) got an unexpected keyword argument '\w+'$"):
        call()
