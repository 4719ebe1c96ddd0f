"""The parity table on a GPU: float32 without TF32, float64, and TF32 with its own eps."""

import pytest

from convgru import parity, registry
from convgru.parity import table as case_table

TABLE = {case.name: case for case in case_table.table()}
FRAMEWORKS = ("torch", "jax", "flax")
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_case(backend, case, dtype):
    device = device_of(backend)
    report = parity.run([TABLE[case]], backends=[backend], dtypes=[dtype], device=device, controls=False)
    assert report.ok, report.failures()


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_controls(backend):
    report = parity.run([TABLE["gru-before-2d"]], backends=[backend], device=device_of(backend))
    assert report.ok, report.failures()


@pytest.mark.parametrize("case", ["gru-before-wide", "lstm-wide-twice"])
@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_tf32(backend, case):
    report = parity.run(
        [TABLE[case]], backends=[backend], dtypes=["float32"], device=device_of(backend), controls=False, tf32=True
    )
    assert report.ok, report.failures()
