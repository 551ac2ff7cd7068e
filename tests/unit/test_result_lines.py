"""The result line, found in a log that a hostile program writes."""

import base64
import json
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from agentruns.core.observed import NoResult, ToolResult
from agentruns.core.problems import printable
from agentruns.core.result_lines import LONGEST_WAIT, MAX_LINE, MAX_RESULT, ResultReader, from_termination
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import NOW

NONCE = "8d21c07e-1111-4222-8333-444455556666"
OUTPUT = {"receipt": "R-99", "n": 7, "list": [1.5, None, True, "ä"]}


def line(content: Any, nonce: str = NONCE) -> bytes:
    """A result line, as `agentrun-tool` prints a small one; bytes are carried as they are."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return b"agentrun-result/" + nonce.encode() + b" " + text + b"\n"


def chunks(text: bytes, size: int) -> list[bytes]:
    """The same result in numbered pieces, a line each."""
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return [
        line(b"%d/%d %s" % (number, len(pieces), base64.b64encode(piece))) for number, piece in enumerate(pieces, 1)
    ]


def read(*log: bytes) -> ToolResult | None:
    """What a reader finds in a log that arrives in these pieces."""
    reader = ResultReader(NONCE)
    return next((found for piece in log if (found := reader.feed(piece, NOW))), None)


def parsed(text: bytes) -> ToolResult:
    """What a line with this text stands for."""
    found = read(line(text))
    assert found is not None
    return found


LOG = b"starting\n" + line({"output": OUTPUT}) + b"still working\n" + line({"output": "a second result"})
CHUNKED = chunks(json.dumps({"output": OUTPUT}).encode(), 10)


def test_the_first_result_counts_whatever_comes_before_and_after() -> None:
    assert read(LOG) == ToolResult(NOW, OUTPUT)
    assert read(line({"error": {"class": "Transient"}}) + line({"output": 1})) == ToolResult(
        NOW, error_class="Transient"
    )


@given(st.lists(st.integers(0, len(LOG)), max_size=8))
def test_a_line_may_arrive_in_any_pieces(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(LOG)]
    assert read(*(LOG[start:end] for start, end in pairwise(places))) == read(LOG)


class EachLine(ResultReader):
    """A reader that looks at every line, however many there are."""

    def feed(self, data: bytes, now: datetime) -> ToolResult | None:
        *lines, rest = data.split(b"\n")
        for complete in lines:
            self._extend(complete)
            kept, self._line = bytes(self._line), bytearray()
            if found := self._read(kept, now):
                return found
        self._extend(rest)
        return None


PREFIX = line(b"")[:-1]
PARTS = st.sampled_from(
    [b"", b"x", b"\n", b"\n\n", b" ", PREFIX, PREFIX[:-1], PREFIX[:20], b"\n" + PREFIX, b"x" * MAX_LINE, *CHUNKED, LOG]
)


@given(st.lists(st.tuples(PARTS, st.integers(0, 80), st.integers(0, 80)), max_size=12))
def test_lines_that_are_passed_over_are_those_that_say_nothing(parts: list[tuple[bytes, int, int]]) -> None:
    """Whatever is printed, and wherever its pieces are cut."""
    fast, plain = ResultReader(NONCE), EachLine(NONCE)
    for text, start, end in parts:
        piece = text[start : len(text) - end] if start + end < len(text) else text
        found = fast.feed(piece, NOW)
        assert found == plain.feed(piece, NOW)
        if found:
            return
        assert (fast._line, fast._chunks) == (plain._line, plain._chunks)


def test_lines_that_begin_otherwise_take_no_time_of_their_own() -> None:
    """A pod that prints nothing but ends of lines would else take all of an event loop."""
    looked_at = list[bytes]()

    class Counted(ResultReader):
        def _read(self, line: bytes, now: datetime) -> ToolResult | None:
            looked_at.append(line)
            return super()._read(line, now)

    assert Counted(NONCE).feed(b"\n" * 65_536 + b"agentrun-result/\n" * 4096 + line({"output": 1}), NOW)
    assert looked_at == [b"", line({"output": 1})[:-1]]


def test_a_line_may_arrive_byte_by_byte() -> None:
    assert read(*(LOG[place : place + 1] for place in range(len(LOG)))) == ToolResult(NOW, OUTPUT)


@pytest.mark.parametrize(
    "log",
    [
        b"",
        b"agentrun-result/\n",
        line({"output": 1}, nonce="another-pod"),
        line({"output": 1}, nonce=""),
        line({"output": 1}, nonce=NONCE + "0"),
        b" " + line({"output": 1}),
        b"noise " + line({"output": 1}),
        line({"output": 1})[:-1],
        line({"output": 1}).upper(),
        line(b"").replace(b" ", b""),
        line(b""),
        line(b"[1]"),
        line(b"output"),
        b"x" * 5_000_000 + b"\n",
        b"x" * (MAX_LINE + 1) + line({"output": 1}),
    ],
)
def test_what_is_no_result_line_says_nothing(log: bytes) -> None:
    assert read(log) is None


def test_a_result_is_found_after_five_megabytes_of_log_in_one_line() -> None:
    assert read(b"x" * 5_000_000, b"\n" + line({"output": 1})) == ToolResult(NOW, 1)


def test_a_long_line_without_an_end_is_not_kept() -> None:
    reader = ResultReader(NONCE)
    for _ in range(100):
        assert reader.feed(b"x" * 65_536, NOW) is None
    assert len(reader._line) == MAX_LINE + 1


def test_a_carriage_return_at_the_end_does_no_harm() -> None:
    assert read(line({"output": 1})[:-1] + b"\r\n") == ToolResult(NOW, 1)


# ---------------------------------------------------------------------------------------------- chunks


@given(st.permutations(CHUNKED))
def test_chunks_may_come_in_any_order(order: list[bytes]) -> None:
    assert read(*order) == ToolResult(NOW, OUTPUT)


def test_chunks_may_come_twice_and_mixed_with_log() -> None:
    mixed = [piece for chunk in CHUNKED for piece in (chunk, b"log\n", chunk, line(b"1/999 AAAA"))]
    assert read(*mixed) == ToolResult(NOW, OUTPUT)


def test_the_first_of_two_chunks_with_one_number_counts() -> None:
    forged = line(b"1/%d %s" % (len(CHUNKED), base64.b64encode(b'{"output":6')))
    assert read(CHUNKED[0], forged, *CHUNKED[1:]) == ToolResult(NOW, OUTPUT)


@pytest.mark.parametrize("missing", range(len(CHUNKED)))
def test_without_one_of_its_chunks_there_is_no_result(missing: int) -> None:
    assert read(*CHUNKED[:missing], *CHUNKED[missing + 1 :]) is None


@pytest.mark.parametrize(
    "senseless",
    [
        b"0/2 AAAA", b"3/2 AAAA", b"1/0 AAAA", b"1/257 AAAA", b"-1/2 AAAA", b"1/2/3 AAAA", b"1 AAAA", b"/ AAAA",
        b"1/2 no base64", b"1/2 AAA", "1/2 ä".encode(), b"1/1000000000000 AAAA", "¹/² AAAA".encode(),
    ],
)  # fmt: skip
def test_a_chunk_that_makes_no_sense_is_passed_over(senseless: bytes) -> None:
    assert read(line(senseless), *CHUNKED) == ToolResult(NOW, OUTPUT)


def test_a_big_result_comes_in_chunks() -> None:
    output = "x" * 900_000
    assert read(*chunks(json.dumps({"output": output}).encode(), 12_288)) == ToolResult(NOW, output)


# ------------------------------------------------------------------------------------------ what it says


@pytest.mark.parametrize(
    ("text", "output"),
    [
        (b'{"output": null}', None),
        (b'{"output": []}', []),
        (b'{"output": 7.0}', 7),
        (b'{"output": -0.0}', 0),
        (b'{"output": 1e300}', 1e300),
        (b'{"output": [9007199254740991, -9007199254740991]}', [2**53 - 1, 1 - 2**53]),
        (b'{"output": "\\ud83d\\ude00 \\ud5a5"}', "😀 향"),
        (b'{"output": {"error": 1}, "more": 2}', {"error": 1}),
        (b'{"output": 1, "output": 2}', 2),
    ],
)
def test_an_output_is_any_json_value(text: bytes, output: Any) -> None:
    found = parsed(text)
    assert found == ToolResult(NOW, output)
    assert type(found.output) is type(output)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"output": ', "the result is no JSON"),
        (b"{'output': 1}", "the result is no JSON"),
        (b'{"output": NaN}', "the result is no JSON"),
        (b'{"output": [-Infinity]}', "the result is no JSON"),
        (b'{"output": 1e999}', "the result is no JSON"),
        (b'{"output": -1e999}', "the result is no JSON"),
        (b'{"output": "\xff\xfe"}', "the result is no JSON"),
        (b'{"output": "\xed\xa0\x80"}', "the result is no JSON"),
        (b'{"output": ' + b"1" * 5000 + b"}", "quote it"),
        (b'{"output": [-9007199254740992]}', "quote it"),
        (b'{"output": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "the result is no JSON"),
        (b'{"output": ' + b"[" * 65 + b"]" * 65 + b"}", "the result is nested more than 64 levels deep"),
        (b'{"output": 9007199254740993}', "quote it"),
        (b'{"output": "\\ud800"}', "no exact JSON form"),
        (b'{"output": {"\\ud800": 1}}', "no exact JSON form"),
        (b"{}", '{"output": ...} or {"error": {...}}'),
        (b'{"output": 1, "error": {"class": "Unknown"}}', '{"output": ...} or {"error": {...}}'),
        (b'{"error": "it broke"}', "no class of Transient, Permanent, Unknown"),
        (b'{"error": {"class": "Fatal"}}', "no class of Transient, Permanent, Unknown"),
        (b'{"error": {"message": "it broke"}}', "no class of Transient, Permanent, Unknown"),
        (b'{"error": {"class": "Unknown", "retryAfter": NaN}}', "the result is no JSON"),
        (b'{"output": "' + b"x" * MAX_LINE + b'"}', f"more than {MAX_LINE} bytes; print it in chunks"),
    ],
)
def test_a_result_that_cannot_be_used_says_why(text: bytes, said: str) -> None:
    found = parsed(text)
    assert said in found.invalid
    assert found.output is None


def test_ten_thousand_levels_of_json_are_refused() -> None:
    deep = b'{"output":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    found = read(*chunks(deep, 12_288))
    assert found is not None
    assert found.invalid == "the result is no JSON"


def test_a_result_of_two_mebibytes_is_refused_with_its_size() -> None:
    found = read(*chunks(b'{"output":"' + b"x" * 2_097_152 + b'"}', 12_288))
    assert found is not None
    assert found.invalid == f"the result has 2097165 bytes; at most {MAX_RESULT} are taken"


def test_an_error_has_a_class_a_message_and_a_wish() -> None:
    said = {"class": "Transient", "message": "429", "retryAfter": 2.5, "more": 1}
    assert read(line({"error": said})) == ToolResult(NOW, error_class="Transient", message="429", retry_after=2.5)
    assert read(line({"error": {"class": "Permanent"}})) == ToolResult(NOW, error_class="Permanent")


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        (0, 0.0), (3, 3.0), (-1, None), (True, None), ("3", None), (None, None), ([1], None),
        (10**9, LONGEST_WAIT), (1e300, LONGEST_WAIT),
    ],
)  # fmt: skip
def test_how_long_to_wait_is_a_number_of_seconds_and_at_most_a_day(wish: Any, seconds: float | None) -> None:
    found = read(line({"error": {"class": "Transient", "retryAfter": wish}}))
    assert found is not None
    assert found.retry_after == seconds


def test_a_message_is_one_short_line_that_does_nothing_to_a_terminal() -> None:
    hostile = {"class": "Unknown", "message": "\x1b[2Jgone\nnext\u202etfel\ud800" + "x" * 5000}
    found = read(line({"error": hostile}))
    assert found is not None
    assert found.message.startswith(" [2Jgone next tfel xxx")
    assert len(found.message) == 1024
    assert found.message.isprintable()
    assert read(line({"error": {"class": "Unknown", "message": ["no text"]}})) == ToolResult(NOW, error_class="Unknown")


def test_printable_text_stays_as_it_is() -> None:
    assert printable("Straße 5, 東京") == "Straße 5, 東京"


# ------------------------------------------------------------------------------- the termination message


@pytest.mark.parametrize("complete", [True, False])
def test_a_termination_message_may_carry_the_line_itself(complete: bool) -> None:
    text = line({"output": OUTPUT})[:-1].decode()
    assert from_termination(text, NONCE, complete=complete, now=NOW) == ToolResult(NOW, OUTPUT)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("", NoResult(True)),
        ("Traceback ...", NoResult(True)),
        ("[1]", NoResult(True)),
        ("[" * 50_000, NoResult(True)),
        (line({"output": 1}, nonce="another-pod").decode(), NoResult(True)),
        ('{"digest": "sha256:ab", "bytes": 3}', NoResult(True, promised="sha256:ab")),
        ('{"digest": 7, "invalid": 8}', NoResult(True)),
        ('{"invalid": "no\\nJSON"}', NoResult(True, invalid="no JSON")),
    ],
)
def test_a_termination_message_may_carry_a_promise(message: str, found: NoResult) -> None:
    assert from_termination(message, NONCE, complete=True, now=NOW) == found


def test_whether_the_log_was_complete_is_kept() -> None:
    assert from_termination("", NONCE, complete=False, now=NOW) == NoResult(False)
