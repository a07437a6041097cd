"""What is said of texts that are no JSON is what Go's decoder says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import json_text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b'{"a', "unexpected end of JSON input"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 2}', "invalid character '2' after object key:value pair"),
        (b'{"a":01}', "invalid character '1' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"{} {}", "invalid character '{' after top-level value"),
        (b'"\x01"', "invalid character '\\x01' in string literal"),
        (b'"\\q"', "invalid character 'q' in string escape code"),
        (b'"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        (b"tru3", "invalid character '3' in literal true (expecting 'e')"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"1ex", "invalid character 'x' in exponent of numeric literal"),
        (b"NaN", "invalid character 'N' looking for beginning of value"),
        (b"\xef\xbb\xbf{}", "invalid character '\xef' looking for beginning of value"),
        (b"[" * 100_000, "exceeded max depth"),
    ],
)
def test_messages(text: bytes, message: str) -> None:
    with pytest.raises(json_text.Fault) as raised:
        json_text.decode(text)
    assert str(raised.value) == message


def test_what_is_no_text_is_replaced() -> None:
    assert json_text.decode(b'{"a":"\xff","\\ud800":["\\udc00"]}') == {"a": "\ufffd", "\ufffd": ["\ufffd"]}


@given(st.binary() | st.text(alphabet='{}[]",:\\utrfalsenE+-.0123456789 ').map(str.encode))
def test_any_text_is_read_or_refused(text: bytes) -> None:
    why = ""
    try:
        json.dumps(json_text.decode(text))
    except json_text.Fault as fault:
        why = str(fault)
    assert why != "invalid JSON"
