from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from valence_integrations import errors
from valence_integrations._service.answer import MAX_DEPTH, Answer
from valence_integrations._service.masking import Mask

KEY = "sk-1/2+3=x&y%z"
LONG = "sk-" + "0123456789abcdef" * 3


def answer(content: bytes | str, *keys: str) -> Answer:
    response = requests.Response()
    response.status_code = 200
    response._content = content.encode() if isinstance(content, str) else content
    return Answer(response, Mask(keys))


class TestMask:
    @pytest.mark.parametrize(
        "form",
        [
            KEY,
            KEY.upper(),
            quote(KEY, safe=""),
            quote(KEY, safe="").lower(),
            quote(KEY),
            json.dumps(KEY)[1:-1],
            KEY.replace("/", "\\/"),
            "".join(f"\\u{ord(character):04x}" for character in KEY),
            "".join(f"%{ord(character):02X}" for character in KEY),
            html.escape(KEY).replace("&amp;", "&#38;"),
            base64.b64encode(KEY.encode()[:12]).decode(),
        ],
    )
    def test_every_form_of_the_key(self, form: str) -> None:
        assert Mask([KEY])(f"before{form}after") == "before***after"

    def test_base64_within_longer_text(self) -> None:
        encoded = base64.b64encode(LONG.encode()).decode()
        assert encoded[:-4] not in Mask([LONG])(f"Basic {encoded}")

    def test_several_keys_and_the_longest_first(self) -> None:
        assert Mask(["sk-1234", "sk-1234-long", "other"])("sk-1234-long sk-1234 other") == "*** *** ***"

    @pytest.mark.parametrize("key", ["k", "k-1", ""])
    def test_short_keys_are_not_masked(self, key: str) -> None:
        assert Mask([key])(f"a k-1 {key} b") == f"a k-1 {key} b"

    def test_unusable_characters(self) -> None:
        assert Mask([])("a\x00b\ud800c\x1b[31md\x7f\te\n") == "a�b�c�[31md�\te\n"

    @pytest.mark.parametrize("length", range(1, len(LONG)))
    def test_cut_text_has_no_part_of_a_key_at_its_end(self, length: int) -> None:
        text = "a" * 600 + LONG[:length]
        assert Mask([LONG]).cut(text) == "a" * (600 + length - 6 * 68)

    @given(st.text(), st.text())
    def test_no_text_keeps_the_key(self, before: str, after: str) -> None:
        masked = Mask([LONG])(before + LONG + after)
        assert LONG not in masked
        masked.encode()


class TestJson:
    @pytest.mark.parametrize(
        "text",
        [
            json.dumps({"a": [f"x{LONG}y", {f"{LONG}": 1}]}),
            json.dumps({"a": [f"x{LONG}y", {f"{LONG}": 1}]}).replace("k", "\\u006b"),
        ],
    )
    def test_strings_and_names_are_masked(self, text: str) -> None:
        assert answer(text, LONG).json() == {"a": ["x***y", {"***": 1}]}

    def test_other_encodings_of_json(self) -> None:
        text = json.dumps({"id": LONG})
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"):
            assert answer(text.encode(encoding), LONG).json() == {"id": "***"}

    def test_number_that_is_the_key(self) -> None:
        assert answer('{"id": 12345678, "b": 1234567.0}', "12345678").json() == {"id": "***", "b": 1234567.0}

    @pytest.mark.parametrize("text", ['"\\ud800\\u0000"', b'"\xed\xa0\x80\\u0000"'])
    def test_surrogates_and_nul_are_replaced(self, text: bytes | str) -> None:
        assert answer(text).json() == "��"

    def test_ordinary_answer_is_unchanged(self) -> None:
        content = {"main_emotion": "happy", "scores": {"sad": 0.1, "fröhlich": 0.9}, "n": [1, None, True], "s": "😀"}
        assert answer(json.dumps(content), LONG).json() == content
        assert answer(json.dumps(content, ensure_ascii=False), LONG).json() == content

    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]")])
    def test_deep_nesting(self, opening: str, closing: str) -> None:
        levels = opening.count("[") + opening.count("{")
        for depth in (MAX_DEPTH // levels + 1, 10_000, 1_000_000):
            with pytest.raises(ValueError, match=r"not valid JSON|nested") as got:
                answer(opening * depth + "1" + closing * depth).json()
            assert got.value.__context__ is None
        assert repr(answer(opening * (MAX_DEPTH // levels) + "1" + closing * (MAX_DEPTH // levels)).json())

    def test_many_shallow_values(self) -> None:
        assert answer("[" + "[]," * 1000 + "{}]").json() == [[]] * 1000 + [{}]

    @pytest.mark.parametrize("text", ["", "no", "{", "[1,]", b"\xff\xfe\xfd", '"\n"', "1" * 5000, f'{{"{LONG}": '])
    def test_invalid_json_error_has_no_content(self, text: bytes | str) -> None:
        with pytest.raises(ValueError, match="not valid JSON") as got:
            answer(text, LONG).json()
        assert got.value.__cause__ is got.value.__context__ is None

    @pytest.mark.parametrize("text", ["[]", "null", "3", "no"])
    def test_object(self, text: str) -> None:
        with pytest.raises(errors.InvalidResponseError, match=r"^the answer is not a JSON object \(\d bytes"):
            answer(text).json_object("the answer")
        assert answer('{"a": 1}').json_object("the answer") == {"a": 1}

    @given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_any_bytes(self, content: bytes) -> None:
        try:
            value = answer(content, LONG).json()
        except ValueError:
            return
        json.dumps(value, ensure_ascii=False).encode()
