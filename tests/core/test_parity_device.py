"""Where a comparison runs: ``cuda`` is each backend's first GPU, and the report says which."""

import pytest

from convgru import parity, registry
from convgru.errors import UnsupportedError
from convgru.parity import table as case_table
from convgru.reference import run

CASE = [case for case in case_table.table() if case.name == "gru-before-1d"]


class Fake:
    """The reference, posing as a backend that has the devices ``names``."""

    def __init__(self, *names):
        self.names, self.asked = names, []

    def devices(self):
        return {name: f"the chip {name}" for name in self.names}

    def versions(self):
        return {"fake": "1"}

    def precise(self):
        import contextlib

        return contextlib.nullcontext()

    def execute(self, weights, x, state=None, *, steps=None, extras=None, cotangents=None, device="cpu"):
        self.asked.append(device)
        if device not in self.names:
            raise UnsupportedError(f"no device {device!r}")
        y, final = run(weights, x, state)
        return y, final, {}


@pytest.mark.parametrize(("names", "asked", "used"), [
    (("cpu", "cuda:2", "cuda:3"), "cuda", "cuda:2"),
    (("cpu", "cuda:2"), "cpu", "cpu"),
    (("cpu", "cuda:0", "cuda:1"), "cuda:1", "cuda:1"),
])  # fmt: skip
def test_the_device_that_is_meant(names, asked, used, monkeypatch):
    fake = Fake(*names)
    monkeypatch.setattr(registry, "get", lambda name: fake)
    report = parity.run(CASE, backends=["torch"], dtypes=["float64"], device=asked, gradients=False, controls=False)
    assert report.ok, report.failures()
    assert set(fake.asked) == {used} == {row.device for row in report.rows}
    assert report.as_dict()["devices"] == {"torch": used if used == "cpu" else f"{used}, the chip {used}"}


def test_no_gpu(monkeypatch):
    fake = Fake("cpu")
    monkeypatch.setattr(registry, "get", lambda name: fake)
    report = parity.run(CASE, backends=["torch"], dtypes=["float64"], device="cuda", gradients=False, controls=False)
    assert report.devices == {"torch": "cuda, which it does not see"}
    assert any("no device 'cuda'" in failure for failure in report.failures())
