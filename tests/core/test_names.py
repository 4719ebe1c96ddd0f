"""Names of arrays: those that begin alike are found at once, however many and long they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convgru
from convgru.formats.contents import Contents
from convgru.formats.names import below, is_below, outermost
from convgru.importers.arrays import MAX_NAME

TEXTS = st.lists(st.text("ab.", max_size=5), max_size=12)
NUMBER = np.zeros(())


@given(TEXTS, TEXTS)
def test_what_begins_alike(names, starts):
    names = sorted(set(names))
    for start in starts:
        assert list(below(names, start)) == [name for name in names if name.startswith(start)]
    kept = outermost(starts)
    assert set(kept) == {s for s in starts if not any(t != s and s.startswith(t) for t in starts)}
    assert [is_below(name, kept) for name in names] == [name.startswith(tuple(starts)) for name in names]


def test_counters_of_a_hundred_thousand_modules_are_told_apart():
    """If each name were compared with all, this would not come to an end."""
    arrays = {f"{number}.n_averaged": NUMBER for number in range(100_000)}
    arrays |= {"7.module.weight": NUMBER, "n_averaged": NUMBER, "model.n_averaged": NUMBER, "modul": NUMBER}
    held = Contents(arrays).unwrapped()
    assert arrays.keys() - held.arrays.keys() == {"7.n_averaged", "7.module.weight"}
    assert "7.weight" in held.arrays


def test_the_networks_of_a_file_are_the_outermost():
    one, both = convgru.network("gru", 1, 2), convgru.forecaster("gru", 1, 2)
    weights, outer = convgru.init(one), convgru.init(both)
    arrays = {f"{start}{n}": a for start in ("a.", "ab.") for n, a in weights.arrays.items()}
    arrays |= {f"f.{n}": a for n, a in outer.arrays.items()}
    held = Contents(arrays | {"a.extra": NUMBER}, specs={"ab.": one, "f.": both, "f.encoder.": both.encoder})
    assert list(held.networks()) == ["ab.", "f."]
    assert held.network("f").equal(outer)
    assert held.network("ab.").equal(weights)
    assert held.leads_elsewhere("a")
    assert not held.leads_elsewhere("ab")
    assert not held.leads_elsewhere("f.encoder")


@pytest.mark.parametrize("name", ["forward_a." * 700_000 + "/x/conv_lstm_cell/kernel", "a." * 3_000_000, "x" * 1001])
def test_a_name_that_is_too_long_is_refused(name):
    """Patterns would take hours for some of them."""
    with pytest.raises(convgru.WeightsError, match=f"expected names of at most {MAX_NAME} characters, got {len(name)}"):
        convgru.adopt({name: np.ones((3, 3, 1, 4)), "other": NUMBER})


def test_a_config_of_two_thousand_million_layers_is_refused(tmp_path):
    from safetensors.numpy import save_file

    spec = convgru.network("lstm", 2, 4, updates=((1, 3), (3, 1)))
    save_file(dict(convgru.init(spec).arrays), tmp_path / "model.safetensors")
    config = {"in_channels": 2, "hidden_channels": 4, "num_layers": 2**31 - 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(convgru.WeightsError, match="num_layers expected at most 10000, got 2147483647"):
        convgru.read(tmp_path)


def test_a_prefix_without_a_network_is_refused_by_inspect_as_by_read(tmp_path, monkeypatch):
    weights = convgru.init(convgru.network("gru", 1, 2))
    held = Contents({f"a.{n}": a for n, a in weights.arrays.items()}, specs={"a.": weights.spec})
    monkeypatch.setattr(convgru.files, "contents", lambda path: held)
    for call in (convgru.read, convgru.inspect):
        with pytest.raises(
            convgru.WeightsError, match=r"w\.pt: no network of convgru whose names begin with 'b', only"
        ):
            call("w.pt", "convgru", prefix="b")
    assert convgru.inspect("w.pt", prefix="a").weights.equal(weights)


@pytest.mark.parametrize("prefix", ["module", "module.", "model", "module.model.", "model._orig_mod", "model.module."])
def test_a_prefix_may_end_with_a_wrapper(tmp_path, prefix):
    from safetensors.numpy import save_file

    weights = convgru.init(convgru.network("lstm", 2, 3))
    arrays = convgru.importers.export(weights, "convlstm_pytorch", prefix="module.model._orig_mod")
    save_file(arrays, tmp_path / "w.safetensors")
    assert convgru.read(tmp_path / "w.safetensors", prefix=prefix).equal(weights)
