"""The parity table on a GPU, in every dtype and in TF32; frameworks and devices side by side."""

import numpy as np
import pytest

import convgru
from convgru import parity, registry
from convgru.parity import cases, oracle
from convgru.parity import table as case_table
from convgru.parity.budget import error
from convgru.spec.shapes import state_leaves

TABLE = {case.name: case for case in case_table.table()}
FRAMEWORKS = ("torch", "jax", "flax")
DTYPES = ("float32", "float64", "bfloat16", "float16")
PARTS = 8
PAIRED = ("gru-before-2d", "gru-after-lengths", "lstm-peephole-image", "rnn-tanh-3d", "forecaster-lstm-patch")
pytestmark = pytest.mark.gpu


def device_of(name: str) -> str:
    """The first GPU that a framework sees, or a skip that says why there is none."""
    try:
        backend = registry.get(name)
    except ImportError as reason:
        pytest.skip(str(reason))
    for device in backend.devices():
        if device != "cpu":
            return device
    pytest.skip(f"{name} sees no GPU on this machine (devices: {', '.join(backend.devices())})")


@pytest.mark.parametrize("dtype", [*DTYPES, "tf32"])
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_the_table(backend, part, dtype):
    device, tf32 = device_of(backend), dtype == "tf32"
    report = parity.run(
        list(TABLE.values())[part::PARTS],
        backends=[backend],
        dtypes=["float32" if tf32 else dtype],
        device=device,
        controls=False,
        tf32=tf32,
    )
    assert report.ok, report.failures()


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_controls(backend):
    report = parity.run([TABLE["gru-before-2d"]], backends=[backend], device=device_of(backend))
    assert report.ok, report.failures()


def computed(solution, name, device):
    """What a framework computes of a problem, by name, gradients with a prefix."""
    runner, problem = registry.get(name), solution.problem
    with runner.precise():
        y, final, gradients = runner.execute(
            problem.weights,
            problem.x,
            problem.state,
            steps=solution.steps,
            extras=problem.extras,
            cotangents=problem.cotangents,
            device=device,
        )
    results = {"output": y, **dict(state_leaves(problem.weights.spec, final))}
    return results | {f"gradient {leaf}": array for leaf, array in gradients.items()}


def agree(solution, one, other):
    """Two that both keep within the budget are within twice the budget of each other."""
    for name, array in one.items():
        budget = solution.budget.gradients.get(name.removeprefix("gradient "), solution.budget.forward)
        if not name.startswith("gradient "):
            budget = solution.budget.forward
        assert error(array, other[name].astype(np.float64)) <= 2 * budget, name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PAIRED)
def test_torch_against_jax(name, dtype):
    devices = {backend: device_of(backend) for backend in ("torch", "jax")}
    case = TABLE[name]
    solution = oracle.solve(name, cases.problem(case, dtype), case.steps)
    agree(solution, *(computed(solution, backend, device) for backend, device in devices.items()))


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_one_file_on_both_devices(backend, name, tmp_path):
    """The same bytes, and the same numbers to rounding."""
    device, case = device_of(backend), TABLE[name]
    problem = cases.problem(case, "float32")
    convgru.write(problem.weights, tmp_path / "weights.safetensors")
    weights = convgru.read(tmp_path / "weights.safetensors")
    options = {} if backend == "flax" else {"device": device}
    assert convgru.extract(convgru.build(weights, backend, **options)).equal(weights)
    solution = oracle.solve(name, problem, case.steps)
    agree(solution, computed(solution, backend, "cpu"), computed(solution, backend, device))
