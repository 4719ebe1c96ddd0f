"""What importing convgru loads, and what it says where something is missing."""

from __future__ import annotations

import json

import pytest

FRAMEWORKS = ("torch", "jax", "flax", "mindspore")


def test_import_loads_no_framework_and_nothing_of_the_command_line(python):
    code = """
import json, sys, convgru
from convgru import spec, importers, registry
convgru.reference, convgru.init(convgru.network("gru", 1, 2))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    loaded = set(json.loads(python(code).stdout))
    rooms = {f"convgru_{name}" for name in FRAMEWORKS}
    assert "numpy" in loaded
    assert not loaded & {*FRAMEWORKS, *rooms, "jaxlib", "rich", "matplotlib"}


def test_the_core_works_without_any_framework_and_without_rich(python):
    code = """
import numpy as np, convgru
w = convgru.init(convgru.network("lstm", 1, 2), dtype="float64")
convgru.write(w, "w.safetensors")
y, state = convgru.reference.run(convgru.read("w.safetensors"), np.ones((2, 1, 1, 4, 4)))
print(y.shape)
"""
    result = python(code, blocked=(*FRAMEWORKS, "jaxlib", "rich"))
    assert result.stdout == "(2, 1, 2, 4, 4)\n", result.stderr


@pytest.mark.parametrize(
    ("name", "title"), [("torch", "PyTorch"), ("jax", "JAX"), ("flax", "Flax"), ("mindspore", "MindSpore")]
)
def test_a_missing_framework_is_one_sentence_with_the_command(python, name, title):
    result = python(f"import convgru.{name}", blocked=(name,))
    assert result.returncode == 1
    assert (
        result.stderr.strip().splitlines()[-1]
        == f"ImportError: convgru.{name} needs {title}: pip install 'convgru[{name}]'"
    )


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_building_for_a_missing_framework_says_the_same(python, name):
    code = f"""
import convgru
try:
    convgru.build(convgru.init(convgru.network("gru", 1, 2)), {name!r})
except ImportError as error:
    print(error)
"""
    assert f"pip install 'convgru[{name}]'" in python(code, blocked=(name,)).stdout


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_face_of_an_uninstalled_checkout_says_how_to_install_it(python, name):
    result = python(f"import convgru.{name}", blocked=(f"convgru_{name}",))
    expected = f"ImportError: convgru.{name} is not installed: in the checkout run  pip install -e '.[{name}]'"
    assert result.stderr.strip().splitlines()[-1] == expected


def test_an_unknown_name_is_an_attribute_error_and_dir_lists_the_lazy_ones(python):
    code = """
import convgru
assert {"reference", "parity", "read"} <= set(dir(convgru))
convgru.nonsense
"""
    assert python(code).stderr.strip().endswith("AttributeError: module 'convgru' has no attribute 'nonsense'")
