"""The drop-ins for pytorch_convgru, BiConvGRU and ConvLSTM_pytorch: numbers, calls, quirks."""

import pytest
import torch
from support import assert_close
from torch import nn

import convgru
from convgru.torch.compat import biconvgru, convlstm_pytorch, pytorch_convgru

SIZES = {"input_size": (6, 5), "input_dim": 2, "hidden_dim": [3, 4], "kernel_size": [3, 5], "num_layers": 2}
NETS = {
    "pytorch_convgru": lambda **o: pytorch_convgru.ConvGRU(2, [3, 4], [3, 5], 2, **o),
    "biconvgru": lambda **o: biconvgru.BiConvGRU(**SIZES, **o),
    "biconvgru-one-way": lambda **o: biconvgru.BiConvGRU(**SIZES, bidirectional=False, **o),
    "biconvgru-stack": lambda **o: biconvgru.ConvGRU(**SIZES, **o),
    "convlstm_pytorch": lambda **o: convlstm_pytorch.ConvLSTM(2, [3, 4], [(3, 3), (5, 3)], 2, **o),
}
ONE_STATE = {
    "pytorch_convgru": {"hidden": 3},
    "biconvgru": {"hidden_state": [3, 3]},
    "biconvgru-one-way": {"hidden_state": [3]},
    "biconvgru-stack": {"hidden_state": 3},
    "convlstm_pytorch": {"hidden_state": 3},
}


def loaded(net, state_dict):
    """The net in float64 with the original's state dict, whose keys must be in the same order."""
    net = net.double().eval()
    assert list(net.state_dict()) == list(state_dict)
    assert [name for name, _ in net.named_parameters()] == list(state_dict)
    net.load_state_dict(state_dict, strict=True)
    return net


def test_pytorch_convgru_gives_the_originals_numbers(golden):
    meta, state_dict, arrays = golden("pytorch_convgru")
    net = loaded(pytorch_convgru.ConvGRU(**meta["args"]), state_dict)
    hidden = None
    for t, frame in enumerate(arrays["x"]):
        hidden = net(frame, hidden)
        assert type(hidden) is list
        assert_close(hidden, [arrays[f"h_t{t}_l{layer}"] for layer in (0, 1)])


def test_biconvgru_gives_the_originals_numbers(golden):
    meta, state_dict, arrays = golden("biconvgru")
    net = loaded(biconvgru.BiConvGRU(**meta["args"]), state_dict)
    outputs, states = net(arrays["x"])
    assert [type(part) for part in (outputs, states, *states)] == [list, tuple, list, list]
    assert_close(outputs, [arrays["output_l0"], arrays["output_l1"]])
    for way, state in zip(("forward", "reverse"), states, strict=True):
        assert_close(state, [arrays[f"state_{way}_l{layer}"] for layer in (0, 1)])


def test_the_halves_of_biconvgru_are_networks_too(golden):
    meta, state_dict, arrays = golden("biconvgru")
    args = {name: value for name, value in meta["args"].items() if name != "bidirectional"}
    half = {key.removeprefix("reverse_gru."): value for key, value in state_dict.items() if key.startswith("reverse")}
    outputs, states = loaded(biconvgru.ConvGRU(**args), half)(arrays["x"].flip(1))
    assert_close(outputs[1].flip(1), arrays["output_l1"][:, :, 5:])
    assert_close(states, [arrays[f"state_reverse_l{layer}"] for layer in (0, 1)])


@pytest.mark.parametrize("every", [True, False])
def test_convlstm_pytorch_gives_the_originals_numbers(golden, every):
    meta, state_dict, arrays = golden("convlstm_pytorch")
    args = {**meta["args"], "kernel_size": [*map(tuple, meta["args"]["kernel_size"])], "return_all_layers": every}
    outputs, states = loaded(convlstm_pytorch.ConvLSTM(**args), state_dict)(arrays["x"])
    assert [type(part) for part in (outputs, states, states[0])] == [list, list, list]
    layers = (0, 1) if every else (1,)
    assert_close(outputs, [arrays[f"output_l{layer}"] for layer in layers])
    assert_close(states, [[arrays[f"h_l{layer}"], arrays[f"c_l{layer}"]] for layer in layers])


def test_the_example_of_pytorch_convgru():
    model = pytorch_convgru.ConvGRU(input_size=8, hidden_sizes=[32, 64, 16], kernel_sizes=[3, 5, 3], n_layers=3)
    output = model(torch.randn(1, 8, 64, 64))
    assert type(output) is list
    assert [tuple(h.shape) for h in output] == [(1, n, 64, 64) for n in (32, 64, 16)]


def test_the_example_of_biconvgru():
    sizes = {"input_size": (64, 64), "input_dim": 3, "hidden_dim": [32, 64], "kernel_size": [3, 5], "num_layers": 2}
    model = biconvgru.BiConvGRU(**sizes, bidirectional=True, dropout=0.2, output_size=(32, 32))
    outputs, states = model(torch.randn(2, 3, 3, 64, 64))
    assert [tuple(y.shape) for y in outputs] == [(2, 3, 128, 32, 32)]
    assert [[tuple(h.shape) for h in state] for state in states] == [[(2, 64, 32, 32)]] * 2


def test_the_example_of_convlstm_pytorch():
    model = convlstm_pytorch.ConvLSTM(4, 16, 3, 1, True, True, False)  # its docstring's, which it refuses
    _, last_states = model(torch.rand(2, 3, 4, 12, 12))
    assert last_states[0][0].shape == (2, 16, 12, 12)


@pytest.mark.parametrize("split", [1, 3])
def test_initial_states_continue_a_sequence(split):
    lstm = NETS["convlstm_pytorch"](batch_first=True, return_all_layers=True).double()
    gru = NETS["biconvgru-stack"](return_all_layers=True).double()
    x = torch.randn(2, 5, 2, 6, 5, dtype=torch.float64)
    for net in (lstm, gru):
        whole, final = net(x)
        first, state = net(x[:, :split])
        rest, end = net(x[:, split:], state)
        assert_close([torch.cat(parts, 1) for parts in zip(first, rest, strict=True)], whole)
        assert_close(end, final)


def test_initial_states_of_both_directions():
    net = NETS["biconvgru"](return_all_layers=True).double()
    x = torch.randn(2, 5, 2, 6, 5, dtype=torch.float64)
    begin = [[torch.randn(2, n, 6, 5, dtype=torch.float64) for n in (3, 4)] for _ in "fr"]
    outputs, (forward, reverse) = net(x, hidden_state=begin)
    ahead, end = net.forward_gru(x, begin[0])
    behind, start = net.reverse_gru(x.flip(1), begin[1])
    assert_close(outputs, [torch.cat((f, r.flip(1)), 2) for f, r in zip(ahead, behind, strict=True)])
    assert_close([forward, reverse], [end, start])


def test_a_state_of_none_is_zeros_for_that_layer():
    x = torch.randn(2, 3, 2, 6, 5)
    gru, lstm = NETS["biconvgru-stack"](), NETS["convlstm_pytorch"](batch_first=True)
    h = torch.randn(2, 4, 6, 5)
    assert_close(gru(x, [None, h]), gru(x, [torch.zeros(2, 3, 6, 5), h]))
    assert_close(lstm(x, [None, (h, h)]), lstm(x, [lstm._init_hidden(2, (6, 5))[0], (h, h)]))
    frame = NETS["pytorch_convgru"]()
    assert_close(frame(x[:, 0], [None, h]), frame(x[:, 0], [torch.zeros(2, 3, 6, 5), h]))
    assert_close(frame(x[:, 0], []), frame(x[:, 0]))


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("name", ["biconvgru-stack", "convlstm_pytorch"])
def test_time_first_input_gives_batch_first_output_unless_corrected(name, corrected):
    net = NETS[name](batch_first=False, corrected=corrected)
    other = NETS[name](batch_first=True)
    other.load_state_dict(net.state_dict())
    x = torch.randn(3, 2, 2, 6, 5)
    (y,), state = net(x)
    (want,), final = other(x.transpose(0, 1))
    assert_close(y, want.transpose(0, 1) if corrected else want)
    assert_close(state, final)
    assert corrected or y.is_contiguous()  # the originals' users call view


def test_the_last_frame_of_biconvgru_has_the_wrong_end_of_the_backward_half_unless_corrected():
    net, right = NETS["biconvgru"](), NETS["biconvgru"](corrected=True)
    right.load_state_dict(net.state_dict())
    x = torch.randn(2, 4, 2, 6, 5)
    (y,), ((forward,), (reverse,)) = net(x)
    assert_close(net(x, return_sequence=False)[0], [y[:, -1]])
    assert_close(right(x, return_sequence=False)[0], [torch.cat((forward, reverse), 1)])
    one_way = NETS["biconvgru-one-way"]()
    assert_close(one_way(x, return_sequence=False)[0], [one_way(x)[0][0][:, -1]])


@pytest.mark.parametrize("name", ["biconvgru", "biconvgru-one-way"])
def test_biconvgru_time_first_runs_over_the_samples_unless_corrected(name):
    net, right, usual = (
        NETS[name](batch_first=f, corrected=c) for f, c in ((False, False), (False, True), (True, False))
    )
    for each in (right, usual):
        each.load_state_dict(net.state_dict())
    x = torch.randn(4, 4, 2, 6, 5)
    (y,), states = usual(x.transpose(0, 1))
    assert_close(right(x), ([y.transpose(0, 1)], states))
    assert_close(right(x, return_sequence=False)[0], [torch.cat([state[0] for state in states], 1)])
    (first,), _ = net(x)
    assert_close(first[:, :, :4], usual.forward_gru(x)[0][0])  # x as if its first axis were samples
    if name == "biconvgru":
        assert_close(first[:, :, 4:], usual.reverse_gru(x.flip(0))[0][0].flip(1))
        with pytest.raises(ValueError, match=r"as many samples as frames.*corrected=True"):
            net(x[:3])


def test_dropout_of_biconvgru_falls_on_the_last_layer_too_unless_corrected():
    net, right = (NETS["biconvgru"](dropout=0.5, return_all_layers=True, corrected=c) for c in (False, True))
    x = torch.randn(2, 4, 2, 6, 5)
    assert [bool((y == 0).any()) for y in net(x)[0]] == [True, True]
    assert [bool((y == 0).any()) for y in right(x)[0]] == [False, False]
    right.load_state_dict(net.state_dict())
    first, second = right(x)[0][1], right(x)[0][1]
    assert not torch.equal(first, second)  # there still is some, between the layers
    assert_close(right.eval()(x), net.eval()(x))


@pytest.mark.parametrize("size", [(6, 5), (9, 4), (1, 1)])
@pytest.mark.parametrize("name", NETS)
def test_any_image_size(name, size):
    x = torch.randn(2, 2, *size) if name == "pytorch_convgru" else torch.randn(2, 3, 2, *size)
    leaves = torch.utils._pytree.tree_leaves(NETS[name]()(x))
    assert {tuple(leaf.shape[-2:]) for leaf in leaves} == {size}


@pytest.mark.parametrize(
    "net",
    [
        pytorch_convgru.ConvGRU(2, 3, 4, 2),
        biconvgru.ConvGRU((6, 5), 2, 3, (2, 4), 2),
        convlstm_pytorch.ConvLSTM(2, 3, (2, 4), 2, batch_first=True),
    ],
    ids=lambda net: type(net).__module__.rpartition(".")[2],
)
def test_even_kernels_keep_the_size(net):
    x = torch.randn(2, 2, 6, 5) if isinstance(net, pytorch_convgru.ConvGRU) else torch.randn(2, 3, 2, 6, 5)
    leaves = torch.utils._pytree.tree_leaves(net(x))
    assert {tuple(leaf.shape[-2:]) for leaf in leaves} == {(6, 5)}


def test_the_cells():
    x, h = torch.randn(2, 3, 6, 5), torch.randn(2, 4, 6, 5)
    kimmel = pytorch_convgru.ConvGRUCell(3, 4, 3)
    assert_close(kimmel(x, None), kimmel(x, torch.zeros_like(h)))
    bi = biconvgru.ConvGRUCell((6, 5), 3, 4, (3, 5), False)
    assert_close(bi(x, bi.init_hidden(2)), bi(x))
    lstm = convlstm_pytorch.ConvLSTMCell(3, 4, (3, 3), True)
    state = lstm(x, lstm.init_hidden(2, (6, 5)))
    assert type(state) is tuple
    assert_close(lstm(input_tensor=x, cur_state=[h, h]), lstm(x, (h, h)))
    assert [*bi.state_dict()] == ["conv_gates.weight", "conv_candidate.weight"]


@pytest.mark.parametrize("name", NETS)
def test_extract_is_adopt_and_export_gives_the_state_dict_back(name):
    net = NETS[name]()
    weights = convgru.extract(net)
    state_dict = net.state_dict()
    if name == "biconvgru-stack":
        state_dict = {f"forward_gru.{key}": value for key, value in state_dict.items()}
    assert weights.equal(convgru.adopt(state_dict))
    layout = name.partition("-")[0]
    exported = convgru.importers.export(weights, layout)
    assert exported.keys() == state_dict.keys()
    assert all(exported[key].tobytes() == value.numpy().tobytes() for key, value in state_dict.items())


def test_port_leads_to_the_native_module_with_the_same_numbers():
    net = biconvgru.BiConvGRU(**SIZES, output_size=(3, 2), dropout=0.3).double().eval()
    native = convgru.port(net, "torch", batch_first=True).eval()
    x = torch.randn(2, 4, 2, 6, 5, dtype=torch.float64)
    y, state = native(x)
    (want,), ((forward,), (reverse,)) = net(x)
    assert_close(y, want)
    assert_close(state[2:], (forward, reverse))
    assert native.spec.dropout == 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pytorch_convgru.ConvGRU(8, [32, 64, 16], [3, 5, 3], 5), "ConvGRU hidden_sizes expected a list of 5"),
        (lambda: pytorch_convgru.ConvGRU(8, 4, [3], 2), "ConvGRU kernel_sizes expected a list of 2"),
        (lambda: biconvgru.BiConvGRU((6, 5), 2, [3], 3, 2), "ConvGRU hidden_dim expected a list of 2"),
        (lambda: convlstm_pytorch.ConvLSTM(2, [3], (3, 3), 2), "ConvLSTM hidden_dim expected a list of 2"),
        (lambda: NETS["pytorch_convgru"]()(torch.zeros(1, 3, 6, 5)), "expected 2 input channels on axis 1, got 3"),
        (lambda: NETS["pytorch_convgru"]()(torch.zeros(1, 2, 6, 5), [None]), "hidden expected 2 states"),
        (lambda: NETS["biconvgru"]()(torch.zeros(1, 2, 6, 5)), r"expected an input of 5 axes \(B, T, C, H, W\), got 4"),
        (lambda: NETS["biconvgru"]()(torch.zeros(1, 3, 2, 6, 5), hidden_state=[None]), "states of 2 directions"),
        (lambda: NETS["convlstm_pytorch"]()(torch.zeros(3, 1, 2, 6, 5), [None]), "hidden_state expected 2 states"),
        (lambda: NETS["convlstm_pytorch"]()(torch.zeros(3, 1, 2, 6, 5), [[torch.zeros(1)] * 2, None]), r"state\[0\]"),
    ],
)
def test_errors_name_the_originals_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", NETS)
def test_what_is_no_tensor_is_a_type_error(name):
    with pytest.raises(TypeError, match=r"expected x to be a torch.Tensor, got NoneType"):
        NETS[name]()(None)
    with pytest.raises(TypeError, match="expected a list of states, got int"):
        NETS[name]()(
            torch.zeros(1, 2, 6, 5) if "pytorch_convgru" in name else torch.zeros(1, 1, 2, 6, 5), **ONE_STATE[name]
        )


def test_the_parts_that_users_reach_for_are_there():
    kimmel, lstm, bi = NETS["pytorch_convgru"](), NETS["convlstm_pytorch"](), NETS["biconvgru"](output_size=(3, 2))
    assert kimmel.cells == [kimmel.ConvGRUCell_00, kimmel.ConvGRUCell_01]
    assert (kimmel.hidden_sizes, kimmel.kernel_sizes, kimmel.n_layers) == ([3, 4], [3, 5], 2)
    assert (lstm.cell_list[1].kernel_size, lstm.cell_list[1].padding, lstm.bias) == ((5, 3), (2, 1), True)
    assert bi.forward_gru.input_size == (3, 2)
    assert sum(isinstance(module, nn.Conv2d) for module in bi.modules()) == 8  # what model.apply(init) looks for
