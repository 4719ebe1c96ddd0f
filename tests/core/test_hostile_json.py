"""JSON that would take quadratic time: refused at once, as long as a header may be."""

import pytest

import convgru
from convgru import strict_json

SIZE = 4 << 20
HOSTILE = {
    "quotes in a string without end": '{"' + '\\"' * (SIZE // 2),
    "strings without end": '{"a' + '"\\' * (SIZE // 2),
    "one key twice, the last": "{" + ",".join(f'"{i}":0' for i in range(SIZE // 12)) + ',"z":0,"z":0}',
    "backslashes": '"' + "\\" * SIZE,
    "brackets in strings": '["' + "[" * SIZE,
    "brackets": "[" * SIZE,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_long_texts_are_refused(name):
    """Each took minutes or hours where strings and keys were looked for again and again."""
    with pytest.raises(ValueError, match=r"text expected JSON") as caught:
        strict_json.loads(HOSTILE[name], "text", 2 * SIZE)
    assert len(str(caught.value)) < 400


def test_a_long_key_is_cut_in_the_message():
    with pytest.raises(ValueError, match=r"is there twice") as caught:
        strict_json.loads(f'{{"{"k" * 9999}": 1, "{"k" * 9999}": 2}}', "text", SIZE)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", HOSTILE)
def test_the_header_of_a_safetensors_file(tmp_path, name):
    header = HOSTILE[name].encode()
    (tmp_path / "bad.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(convgru.WeightsError, match=r"header expected JSON"):
        convgru.read(tmp_path / "bad.safetensors")


def test_strings_with_escapes_are_still_strings():
    assert strict_json.loads('{"a\\"[": ["\\\\", "]", "\\u0041"]}', "text", 100, 2) == {'a"[': ["\\", "]", "A"]}
