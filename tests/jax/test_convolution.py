"""The convolution: first and second gradients against JAX's own, and the layouts XLA compiles."""

import re
from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from convgru import network
from convgru.jax import apply, init
from convgru.parity import cases, oracle
from convgru.parity import table as case_table
from convgru.spec.convolution import Convolution
from convgru_jax import backend, convolution, functional
from convgru_jax.convolution import convolve, grouped_rows


def geometry(kernel, stride=1, dilation=1, padding="same", **more):
    ndim = len(kernel)
    stride, dilation = (v if isinstance(v, tuple) else (v,) * ndim for v in (stride, dilation))
    return Convolution(kernel, stride, dilation, padding=padding, **more)


GEOMETRIES = {
    "1d": geometry((3,)),
    "1d-even-dilated": geometry((4,), 1, 2),
    "1d-strided": geometry((2,), 3),
    "2d": geometry((3, 3)),
    "2d-even": geometry((2, 4)),
    "2d-dilated": geometry((3, 2), 1, (2, 3)),
    "2d-valid": geometry((3, 2), 1, (1, 2), "valid"),
    "2d-one-sided": geometry((3, 3), padding=((0, 2), (1, 0))),
    "2d-growing": geometry((2, 3), 1, (1, 2), ((3, 2), (4, 1))),
    "2d-pointwise": geometry((1, 1), padding="valid"),
    "2d-wider-than-image": geometry((9, 9)),
    "2d-strided": geometry((3, 3), 2),
    "2d-strided-even": geometry((2, 4), (2, 3)),
    "2d-strided-valid": geometry((3, 2), (2, 3), padding="valid"),
    "2d-strided-dilated": geometry((3, 2), 2, (2, 3)),
    "2d-strided-preserving": geometry((3, 2), (2, 3), (1, 2), "preserve"),
    "2d-strided-pointwise": geometry((1, 1), 3, padding="valid"),
    "2d-strided-padded": geometry((2, 3), 2, padding=((3, 2), (0, 5))),
    "2d-groups": geometry((3, 2), groups=2, gates=3),
    "2d-groups-strided": geometry((3, 2), 2, groups=2),
    "2d-depthwise": geometry((3, 2), (1, 2), 2, groups=4, gates=2),
    "2d-reflect": geometry((3, 4), padding_mode="reflect"),
    "2d-circular-strided": geometry((3, 2), 2, padding_mode="circular"),
    "2d-replicate-wide": geometry((9, 3), padding_mode="replicate"),
    "3d": geometry((3, 3, 3)),
    "3d-even-dilated": geometry((2, 3, 1), 1, (2, 1, 1)),
    "3d-valid": geometry((2, 2, 3), 1, (1, 2, 1), "valid"),
    "3d-growing": geometry((2, 1, 2), padding=((2, 1), (0, 0), (2, 2))),
    "3d-strided": geometry((3, 2, 3), (2, 1, 2)),
    "3d-strided-valid": geometry((2, 2, 1), (3, 2, 1), padding="valid"),
    "3d-strided-preserving": geometry((3, 2, 1), (2, 2, 1), (1, 1, 2), "preserve"),
    "3d-groups": geometry((2, 3, 2), groups=2, gates=2),
    "3d-circular": geometry((3, 2, 2), padding_mode="circular"),
}


QUICK = {"xla_backend_optimization_level": 0}
"""Compile for one call: XLA's own passes all run, LLVM's do not."""


def operands(geometry):
    rng = np.random.default_rng(0)
    ndim, groups = len(geometry.kernel_size), geometry.groups
    x = rng.standard_normal((2, *(7, 5, 4)[:ndim], 3 if groups == 1 else 4))
    return x, rng.standard_normal((*geometry.kernel_size, x.shape[-1] // groups, 2 * groups * geometry.gates))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_gradients_of_every_order_are_those_of_autodiff(name, error):
    geometry = GEOMETRIES[name]
    x, w = operands(geometry)

    def value(method, x, w):
        return jnp.sin(convolve(method, geometry, x, w)).sum()

    def slopes(method, x, w):  # nonlinear in the first gradients, so that the second go through spread and collect
        gx, gw = jax.grad(value, (1, 2))(method, x, w)
        return (gx**3).sum() + (gw**3).sum()

    @partial(jax.jit, compiler_options=QUICK)
    def everything(x, w):
        return [
            (convolve(m, geometry, x, w), jax.grad(value, (1, 2))(m, x, w), jax.grad(slopes, (1, 2))(m, x, w))
            for m in ("fast", "plain")
        ]

    fast, autodiff = everything(x, w)
    assert error(fast, autodiff) < 1e-13


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_convolution_is_its_definition(name, error):
    """Tap by tap, a third computation: where each window stands, which rows are of which group."""
    geometry = GEOMETRIES[name]
    x, w = operands(geometry)
    modes = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    size = x.shape[1:-1]
    padded = np.pad(x, [(0, 0), *geometry.pads(size), (0, 0)], mode=modes[geometry.padding_mode])
    out = geometry.output_size(size)
    want = np.zeros((2, *out, geometry.gates, geometry.groups, 2))
    for tap in np.ndindex(*geometry.kernel_size):
        starts = [k * d for k, d in zip(tap, geometry.dilation, strict=True)]
        spans = [slice(a, a + s * m, s) for a, s, m in zip(starts, geometry.stride, out, strict=True)]
        seen = padded[(slice(None), *spans)]
        seen = seen[tuple(slice(0, n) for n in (2, *out))].reshape(2, *out, geometry.groups, -1)
        rows = w[tap].reshape(-1, geometry.gates, geometry.groups, 2)
        want += np.einsum("...gc,cagr->...agr", seen, rows)
    got = convolve("fast", geometry, x, grouped_rows(geometry, w))
    assert error(got, want.reshape(got.shape)) < 1e-14


NETWORKS = {
    "gru-before": network("gru", 2, 4),
    "gru-after-layers": network("gru", 2, [4, 3], [3, 2], padding="valid", reset="after"),
    "lstm-bidirectional": network("lstm", 2, 3, peephole="conv", bidirectional=True),
    "rnn-strided-state": network("rnn", 2, 4, recurrent_stride=2),
    "gru-3d-strided": network("gru", 2, 4, ndim=3, stride=2),
    "gru-groups": network("gru", 4, 4, groups=2),
}


def convolutions(function, *arguments):
    """The convolutions of a compiled program, each as a line of its HLO."""
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        compiled = jax.jit(function).lower(*jax.device_put(arguments, cpu)).compile(compiler_options=QUICK)
    return re.findall(r"= \S+ convolution\(.*", compiled.as_text())


def canonical(line):
    """Return True if XLA:CPU has a fast kernel for this convolution."""
    labels = re.search(r"dim_labels=([\w>-]+)", line)[1]
    slow = ("feature_group_count", "batch_group_count", "lhs_dilate", "rhs_reversal")
    return labels in ("b0f_0io->b0f", "b01f_01io->b01f") and not any(word in line for word in slow)


def gradient_of(spec, method):
    """A function of parameters and x, and these."""
    params, x = init(spec, jax.random.key(0)), jnp.ones((3, 2, *(8, 7, 6)[: spec.ndim], spec.in_channels))

    def loss(params, x):
        lengths = jnp.array([1, 3])
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(apply(spec, params, x, method=method, lengths=lengths)))

    return jax.grad(loss, (0, 1)), params, x


@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_gradient_of_a_network_is_canonical(name):
    lines = convolutions(*gradient_of(NETWORKS[name], "fast"))
    assert len(lines) >= 6
    assert [line for line in lines if not canonical(line)] == []


@pytest.mark.parametrize("many", [False, True], ids=["one", "vmap"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_compiled_gradients_of_every_option_are_canonical(name, many):
    """Forward and both gradients, by themselves and mapped over two kernels and two images."""
    x, w = (jnp.asarray(a, "float32") for a in operands(GEOMETRIES[name]))

    def both(x, w):
        out, pull = jax.vjp(partial(convolve, "fast", GEOMETRIES[name]), x, w)
        return out, pull(jnp.sin(out))

    given = [jnp.stack([x, -x]), jnp.stack([w, 2 * w])] if many else [x, w]
    assert [line for line in convolutions(jax.vmap(both) if many else both, *given) if not canonical(line)] == []


def test_depthwise_needs_no_convolution():
    """Each channel by itself: products and sums."""
    spec, size = network("gru", 3, 3, groups=3), (6, 6)
    params, x = init(spec, jax.random.key(0)), jnp.ones((3, 2, *size, 3))
    text = jax.jit(jax.grad(lambda p: apply(spec, p, x)[0].sum())).lower(params).compile().as_text()
    assert " convolution(" not in text


def test_autodiff_of_plain_convolution_is_not():
    """So the tests above can fail. If this one fails, XLA has caught up and ``fast`` may go."""
    assert not all(map(canonical, convolutions(*gradient_of(NETWORKS["gru-before"], "plain"))))


CASES = (
    "gru-before-2d", "gru-after-even-kernel", "lstm-3d", "rnn-tanh-strided", "lstm-peephole-groups", "gru-before-reflect",
    "rnn-tanh-lengths", "gru-after-1d",
)  # fmt: skip


@pytest.mark.parametrize("method", ["fast", "plain"])
@pytest.mark.parametrize("name", CASES)
def test_both_methods_pass_the_case_table(name, method, monkeypatch):
    """Forward and gradients within the table's budget, and by the method that is asked for."""
    case = next(case for case in case_table.table() if case.name == name)
    monkeypatch.setattr(backend.functional, "apply", partial(functional.apply, method=method))
    calls = Counter()
    for way, function in (("fast", convolution.correlate), ("plain", convolution.plain)):
        seen = lambda *a, _way=way, _function=function: calls.update([_way]) or _function(*a)  # noqa: E731
        monkeypatch.setattr(convolution, "correlate" if way == "fast" else way, seen)
    jax.clear_caches()  # or nothing is traced that another test has traced
    for row in oracle.compare(oracle.solve(name, cases.problem(case, "float32"), case.steps), backend, "jax"):
        assert row.ok, row
    assert set(calls) == {method}
