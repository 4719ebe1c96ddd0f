"""Check the installed wheel: the four frameworks' modules, type information, the demo's data.

Run by tox in another folder, with python -I.
"""

from __future__ import annotations

import importlib
import sysconfig
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"]).resolve()
PACKAGES = ("convgru", "convgru_torch", "convgru_jax", "convgru_flax", "convgru_mindspore")
FACES = ("convgru.torch", "convgru.jax", "convgru.flax", "convgru.mindspore")

for name in PACKAGES:
    where = Path(importlib.import_module(name).__file__ or "").resolve().parent
    assert where.parent == SITE, f"{name} expected in {SITE}, got {where}"
    assert (where / "py.typed").is_file(), f"{name} is not marked as typed"
for name in FACES:
    assert importlib.import_module(name).__all__, name
days = sorted(path.name for path in (SITE / "convgru" / "demo" / "data").glob("*.npz"))
assert len(days) == 2, f"the demo's two days expected in the wheel, got {days}"
print(f"the wheel in {SITE} gives {', '.join(FACES)}")
