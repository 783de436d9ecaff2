"""JSON text to values and back, and values to their types."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from urunc import _fastpath, jsontext
from urunc.errors import SpecError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_encoded_is_decoded_to_the_same(value: object) -> None:
    """The two functions are inverse, and agree with the standard library."""
    text = jsontext.encode(value)

    assert value == jsontext.decode(text, "x") == json.loads(text)
    assert value == jsontext.decode(json.dumps(value, ensure_ascii=False).encode(), "x")


@given(st.text(alphabet='[]{}",:0123eE+-.tfnNaIul \\u\n', max_size=24))
def test_the_same_texts_are_refused_as_by_the_package(text: str) -> None:
    """Only the numbers that JSON does not have are refused beyond what the json package refuses."""

    def finite(token: str) -> float:
        if not math.isfinite(float(token)):
            raise ValueError(token)
        return float(token)

    try:
        expected = json.loads(text, parse_constant=finite, parse_float=finite)
    except ValueError:
        with pytest.raises(SpecError):
            jsontext.decode(text, "x")
    else:
        assert expected == jsontext.decode(text, "x")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "line 1 column 1: unexpected end of the text"),
        (b" \n ", "line 2 column 2: unexpected end of the text"),
        (b"[1", "line 1 column 3: unexpected end of the text"),
        (b"{ bad", "line 1 column 3: expecting property name enclosed in double quotes"),
        (b"[1 2]", "line 1 column 4: expecting ',' delimiter"),
        (b'{"a"}', "line 1 column 5: expecting ':' delimiter"),
        (b"tru", "line 1 column 1: expecting value"),
        (b'{"a":1}\n\n x', "line 3 column 2: nothing may follow the value"),
        (b"01", "line 1 column 2: nothing may follow the value"),
        (b'"abc', "line 1 column 1: unterminated string"),
        (b'"a\x00b"', "line 1 column 3: invalid control character"),
        (b'"\\x"', "line 1 column 2: invalid \\escape"),
        (b'"\xff"', "line 1 column 2: byte 0xff is not UTF-8"),
        (b'[1,\n"\xed\xa0\x80"]', "line 2 column 2: byte 0xed is not UTF-8"),
        (b"\xef\xbb\xbf{}", "line 1 column 1: a byte order mark is not allowed"),
        ("\ufeff{}", "line 1 column 1: expecting value"),
        (b"NaN", 'line 1 column 1: "NaN" is no number of JSON, or too large'),
        (b'["a\\"NaN", NaN]', 'line 1 column 12: "NaN" is no number of JSON, or too large'),
        (b'[\n"Infinity", -Infinity]', 'line 2 column 13: "-Infinity" is no number of JSON, or too large'),
        (b"[1e999]", 'line 1 column 2: "1e999" is no number of JSON, or too large'),
        (b"[-1e999]", 'line 1 column 2: "-1e999" is no number of JSON, or too large'),
        (b"[" + b"9" * 5000 + b"]", f'line 1 column 2: "{"9" * 64}..." is no number of JSON, or too large'),
    ],
)
def test_fault_is_named_with_its_place(text: "bytes | str", fault: str) -> None:
    """The place is where an editor finds it."""
    with pytest.raises(SpecError) as caught:
        jsontext.decode(text, "config.json")

    assert f"config.json: invalid JSON at {fault}" == str(caught.value)


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 1_000_000])
def test_deep_nesting_is_an_error_not_a_crash(text: str) -> None:
    """A million brackets neither overflow the stack nor escape as a RecursionError."""
    with pytest.raises(SpecError, match="invalid JSON"):
        jsontext.decode(text, "x")


def test_long_hostile_text_is_refused_at_once() -> None:
    """The place of NaN is found in linear time among strings that contain it."""
    text = "[" + '"NaN",' * 200_000 + "NaN]"

    with pytest.raises(SpecError, match="column 1200002"):
        jsontext.decode(text, "x")


def test_last_of_duplicate_keys_wins() -> None:
    """As in Go."""
    assert {"a": 2} == jsontext.decode('{"a": 1, "a": 2}', "x")


def read(value: object) -> object:
    """With what is unread read."""
    if isinstance(value, dict):
        return {key: read(item) for key, item in value.items()}
    return value.value() if isinstance(value, _fastpath.Json) else value


SHAPES = ("texts", "pairs", "whatever")
TEXTS = st.lists(st.text(max_size=40), max_size=4)
PAIRS = st.dictionaries(st.text(max_size=40), st.text(max_size=40))


@given(st.sampled_from(SHAPES), TEXTS | PAIRS | VALUES, st.booleans())
def test_what_is_read_later_is_the_same(shape: str, value: object, escape: bool) -> None:
    text = json.dumps({"b": {"c": value}, "a": value}, ensure_ascii=escape).encode("utf-8", "surrogatepass")

    assert {"a": value, "b": {"c": value}} == read(_fastpath.decode(text, {"a": shape, "b": {"c": shape}}))


@given(st.sampled_from(SHAPES), st.text(alphabet='[]{}",:ab01eE+-.tfnul \\\n\x01', max_size=24))
def test_the_same_is_refused_when_it_is_to_be_read_later(shape: str, text: str) -> None:
    whole = f'{{"a": {text}}}'.encode()
    try:
        expected = _fastpath.decode(whole)
    except ValueError:
        with pytest.raises(ValueError, match=r"^$"):
            _fastpath.decode(whole, {"a": shape})
    else:
        assert expected == read(_fastpath.decode(whole, {"a": shape}))


@pytest.mark.parametrize(
    ("shape", "text", "unread"),
    [
        ("texts", "[]", True),
        ("texts", '[ "a" , "\\n\\u00e9\u00e9" ]', True),
        ("texts", '["\\u0000"]', False),
        ("texts", '["\\uD800"]', False),
        ("texts", '["\\ud83d\\ude00"]', False),  # good, but a whole reader has the last word
        ("texts", '["a", 1]', False),
        ("texts", '{"a": "b"}', False),
        ("texts", "null", False),
        ("pairs", "{}", True),
        ("pairs", '{"b": "1",\n"a": "\\"x\\\\"}', True),
        ("pairs", '{"a": "1", "b": "2", "a": "3"}', False),
        ("pairs", '{"a": "1", "\\u0061": "3"}', False),
        ("pairs", '{"a": null}', False),
        ("pairs", '["a"]', False),
        ("whatever", '{"a": [1, {"b": [true, null, "x"]}], "c": -7}', True),
        ("whatever", '{"a": 1.5}', False),
        ("whatever", '{"a": 1000000000000000000}', False),
        ("whatever", "[1]", False),
        ("whatever", '{"a": ' + "[" * 64 + "]" * 64 + "}", False),
    ],
)
def test_only_what_is_certainly_right_stays_text(shape: str, text: str, unread: bool) -> None:
    found = _fastpath.decode(f'{{"key": {text} }}'.encode(), {"key": shape})["key"]  # type: ignore[index]

    assert unread == isinstance(found, _fastpath.Json)
    assert json.loads(text) == read(found)
    assert not unread or text.encode() == found.text()


def test_thousands_of_names_are_told_apart() -> None:
    """Two that are the same among them, too; and names of one hash, if somebody finds many, are read at once."""
    pairs = {f"name {number}": str(number) for number in range(5000)}
    text = json.dumps(pairs)

    assert isinstance(_fastpath.decode(f'{{"a": {text}}}'.encode(), {"a": "pairs"})["a"], _fastpath.Json)  # type: ignore[index]
    twice = f'{{"a": {text[:-1]}, "name 7": "x"}}}}'.encode()
    assert {"a": pairs | {"name 7": "x"}} == _fastpath.decode(twice, {"a": "pairs"})


@given(PAIRS, st.text(alphabet="ab.", min_size=1, max_size=3), st.booleans())
def test_names_are_found_by_their_beginning(pairs: dict[str, str], prefix: str, blanks: bool) -> None:
    pairs |= {prefix + key: value for key, value in pairs.items()} | {"x": f',"{prefix}": "', "y": prefix}
    text = json.dumps(pairs, separators=(" ,\n", "\t: ") if blanks else (",", ":"))
    expected = sorted((key, value) for key, value in pairs.items() if key.startswith(prefix))

    assert tuple(expected) == _fastpath.beginning(_fastpath.Json(text.encode()), (prefix,))


def test_a_list_that_is_read_later_is_as_good_as_a_tuple() -> None:
    found = jsontext.later_strings(_fastpath.decode(b'{"a": ["x", "y"]}', {"a": "texts"})["a"], "a")  # type: ignore[index]

    assert ("x", "y") == found == jsontext.later_strings(["x", "y"], "a")
    assert hash(("x", "y")) == hash(found)
    assert (2, "x", ["x", "y"], "('x', 'y')") == (len(found), found[0], [*found], repr(found))


def test_lone_surrogate_and_nul_are_left_to_the_accessors() -> None:
    """They are valid JSON, as escapes."""
    assert ["\ud800", "\0"] == jsontext.decode(b'["\\ud800", "\\u0000"]', "x")


def test_fault_is_named_where_the_package_is_not_loaded() -> None:
    """The C scanner asks for json.decoder only when something is wrong: that has to work in a bare interpreter."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from urunc.jsontext import decode\n"
        "decode('{}', 'x'); assert 'json' not in sys.modules\n"
        "try: decode('{bad', 'x')\n"
        "except Exception as error: print(error)\n"
    )
    source = str(Path(jsontext.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, source], capture_output=True, text=True, check=True
    )

    assert "x: invalid JSON at line 1 column 2: expecting property name enclosed in double quotes\n" == done.stdout


def test_encode_writes_compact_ascii() -> None:
    """Tuples are arrays; what is not ASCII is escaped."""
    value = {"a": (1, [2.5, None, True, False]), "é\n": "\ud800"}

    assert '{"a":[1,[2.5,null,true,false]],"\\u00e9\\n":"\\ud800"}' == jsontext.encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [math.nan]])
def test_encode_refuses_numbers_that_json_has_not(value: object) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        jsontext.encode(value)


@pytest.mark.parametrize(
    ("value", "fault"), [(b"x", "bytes is not JSON"), ({1}, "set is not JSON"), ({1: 2}, "a key must be a string")]
)
def test_encode_refuses_types_that_json_has_not(value: object, fault: str) -> None:
    with pytest.raises(TypeError, match=fault):
        jsontext.encode(value)


@pytest.mark.parametrize(
    ("accessor", "expected"),
    [
        (jsontext.text, ""),
        (jsontext.absolute, ""),
        (jsontext.strings, ()),
        (jsontext.pairs, ()),
        (lambda value, where: jsontext.whole(value, where, 1, 2), 0),
        (lambda value, where: jsontext.whole(value, where, 1, 2, -1), -1),
        (lambda value, where: jsontext.wholes(value, where, 1, 2), ()),
        (lambda value, where: jsontext.records(value, where, dict, ()), ()),
        (jsontext.flag, False),
        (jsontext.table, {}),
    ],
)
def test_null_is_absent(accessor: Callable[[object, str], object], expected: object) -> None:
    """As in Go."""
    assert expected == accessor(None, "x")


@pytest.mark.parametrize(
    ("accessor", "value", "fault"),
    [
        (jsontext.text, 1, "f must be a string"),
        (jsontext.text, "a\0", "f must not contain a NUL byte"),
        (jsontext.text, "\udc80", "f must not contain a lone surrogate"),
        (jsontext.absolute, "a/b", "f must be an absolute path"),
        (lambda value, where: jsontext.absolute(value, where, required=True), "", "f must be an absolute path"),
        (lambda value, where: jsontext.absolute(value, where, required=True), None, "f must be an absolute path"),
        (jsontext.strings, "a", "f must be a list of strings"),
        (jsontext.strings, {"a": "b"}, "f must be a list of strings"),
        (jsontext.strings, ["a", None], "f must be a list of strings"),
        (jsontext.strings, ["a", "b\0"], "f[1] must not contain a NUL byte"),
        (jsontext.pairs, [], "f must be an object"),
        (jsontext.pairs, {"a\n": 1}, 'f["a\\n"] must be a string'),
        (jsontext.pairs, {"a": None}, 'f["a"] must be a string'),
        (jsontext.pairs, {"\0": "a"}, 'f["\\u0000"] must not contain a NUL byte'),
        (lambda value, where: jsontext.whole(value, where, 0, 9), True, "f must be a whole number from 0 to 9"),
        (lambda value, where: jsontext.whole(value, where, 0, 9), 1.0, "f must be a whole number from 0 to 9"),
        (lambda value, where: jsontext.whole(value, where, 0, 9), "1", "f must be a whole number from 0 to 9"),
        (lambda value, where: jsontext.whole(value, where, 0, 9), 10, "f must be a whole number from 0 to 9"),
        (lambda value, where: jsontext.whole(value, where, 0, 9), -1, "f must be a whole number from 0 to 9"),
        (lambda value, where: jsontext.whole(value, where, 0, 9), 10**4000, "f must be a whole number from 0 to 9"),
        (lambda value, where: jsontext.wholes(value, where, 0, 9), 1, "f must be a list of whole numbers"),
        (lambda value, where: jsontext.wholes(value, where, 0, 9), [1, False], "f[1] must be a whole number"),
        (jsontext.flag, 1, "f must be true or false"),
        (jsontext.flag, "true", "f must be true or false"),
        (jsontext.table, [], "f must be an object"),
        (jsontext.table, False, "f must be an object"),
        (lambda value, where: jsontext.records(value, where, dict, ()), {}, "f must be a list of objects"),
        (lambda value, where: jsontext.records(value, where, dict, ()), [{}, []], "f must be a list of objects"),
        (lambda value, where: jsontext.known(value, where, ("a",), 'no "%s"'), "b\n", 'f: no "b\\n"'),
    ],
)
def test_wrong_value_is_refused_by_name(accessor: Callable[[object, str], object], value: object, fault: str) -> None:
    with pytest.raises(SpecError) as caught:
        accessor(value, "f")

    assert str(caught.value).startswith(fault)


def test_null_in_a_list_of_numbers_is_refused() -> None:
    """Only a field can be absent."""
    with pytest.raises(SpecError, match="f must be a list of whole numbers"):
        jsontext.wholes([None], "f", 0, 9)


def test_fields_names_the_object_on_the_way() -> None:
    rows = jsontext.rows(("limit", "memory.limit", jsontext.flag))

    assert {"limit": True} == jsontext.fields({"memory": {"limit": True}}, "", rows)
    with pytest.raises(SpecError, match=r"^config\.json: memory must be an object$"):
        jsontext.fields({"memory": 1}, "config.json: ", rows)


def test_quote_is_short_and_on_one_line() -> None:
    assert '"a\\n\\u2028"' == jsontext.quote("a\n\u2028")
    assert '"' + "x" * 64 + '..."' == jsontext.quote("x" * 1000)


@pytest.mark.parametrize(
    "values",
    [
        (),
        (("a", "b"),),
        (("a", ""), ("", "b"), ("c", "d")),
        (("\u00e9", "x"), ("y", "\U0001f600")),
        (("a", '"\\\n\x7f'),),
    ],
)
def test_pairs_are_quoted_as_an_object(values: tuple[tuple[str, str], ...]) -> None:
    assert json.dumps(dict(values), separators=(",", ":")) == _fastpath.quote_pairs(values)


@pytest.mark.parametrize("length", range(20))
@pytest.mark.parametrize("special", ['"', "\\", "\x00", "\x1f", "\x7f", "\x80", "\u00e9", " ", "~"])
def test_a_character_that_needs_an_escape_is_seen_wherever_it_stands(length: int, special: str) -> None:
    """They are looked at sixteen at a time."""
    pair = ("k" * length + special, "a" * length + special + "b" * 20)

    assert json.dumps(dict([pair]), separators=(",", ":")) == _fastpath.quote_pairs((pair,))


@pytest.mark.parametrize("length", range(20))
@pytest.mark.parametrize("special", ['\\"', "\\\\", "\\u0041", "\u00e9", "\U0001f600", "\x7f", ""])
def test_a_string_ends_where_it_ends(length: int, special: str) -> None:
    """It is read eight bytes at a time: whatever stands at whichever of them."""
    text = '{"' + "k" * length + '": ["' + "a" * length + special + "b" * length + '", "' + special * 3 + '"]}'

    assert json.loads(text) == jsontext.decode(text.encode(), "x")


@pytest.mark.parametrize("length", range(20))
@pytest.mark.parametrize("character", ["\n", "\x00", "\x1f"])
def test_a_control_character_is_refused_wherever_it_stands(length: int, character: str) -> None:
    with pytest.raises(SpecError, match="invalid JSON"):
        jsontext.decode(('"' + "a" * length + character + 'aaaaaaaaaaaaaaaaaaaa"').encode(), "x")
