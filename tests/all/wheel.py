"""Check the installed wheel: the four frameworks' modules, type information, no radar data.

Run by tox in another folder, with python -I.
"""

from __future__ import annotations

import importlib
import sysconfig
from pathlib import Path

from convgru.nowcasting.demo import data

SITE = Path(sysconfig.get_paths()["purelib"]).resolve()
PACKAGES = ("convgru", "convgru_torch", "convgru_jax", "convgru_flax", "convgru_mindspore")
FACES = ("convgru.torch", "convgru.jax", "convgru.flax", "convgru.mindspore")

for name in PACKAGES:
    where = Path(importlib.import_module(name).__file__ or "").resolve().parent
    assert where.parent == SITE, f"{name} expected in {SITE}, got {where}"
    assert (where / "py.typed").is_file(), f"{name} is not marked as typed"
for name in FACES:
    assert importlib.import_module(name).__all__, name
radar = [path for name in PACKAGES for path in (SITE / name).rglob("*.npz")]
assert not radar, f"the demo's radar belongs to the repository, found {radar}"
told = ""
try:
    data.load(data.TEST_DAY)
except FileNotFoundError as error:
    told = str(error)
assert "run convgru demo in a checkout, or say --data FOLDER" in told, told
print(f"the wheel in {SITE} gives {', '.join(FACES)}")
