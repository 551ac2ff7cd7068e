"""The result line of a sandbox, found in its log. Everything here was written by a pod: it is data, and hostile.

The reader keeps what it must and nothing else: a partial line up to a bound, and the chunks of one result.
"""

import base64
import binascii
import json
from datetime import datetime
from typing import Any, Final

from agentruns.core.digests import MAX_DEPTH, NotCanonicalError, compact, depth, values_in
from agentruns.core.observed import NoResult, ToolResult
from agentruns.core.problems import printable

PREFIX: Final = b"agentrun-result/"
MAX_LINE: Final = 17_408
"""Bytes of a line: what base64 makes of a chunk of 12 KiB, and what stands before it."""
MAX_RESULT: Final = 1_048_576
MAX_VALUES: Final = 100_000
"""Values in a result: more of them take time and memory that others need."""
LONGEST_WAIT: Final = 86_400
"""Seconds that a tool may ask to be waited for before its next attempt."""
_MAX_CHUNKS: Final = 256
_CLASSES: Final = frozenset({"Transient", "Permanent", "Unknown"})


class ResultReader:
    """Finds the first complete result line with this nonce in a log that arrives in pieces."""

    def __init__(self, nonce: str) -> None:
        self._prefix = PREFIX + nonce.encode() + b" "
        self._beginning = b"\n" + self._prefix  # other lines are not even looked at: a pod may print millions
        self._line = bytearray()
        self._chunks: dict[int, bytes] = {}
        self._count = 0
        self.size = 0
        """Bytes of the chunks that are kept, or were refused for being too many."""

    def feed(self, data: bytes, now: datetime) -> ToolResult | None:
        """The result, once a line completes it; what follows it does not matter."""
        end = data.find(b"\n")
        self._extend(data if end < 0 else data[:end])
        if end < 0:
            return None
        found = self._read(bytes(self._line), now) or self._found(data, end, now)
        self._line.clear()
        self._extend(data[data.rfind(b"\n") + 1 :])
        return found

    def _found(self, data: bytes, end: int, now: datetime) -> ToolResult | None:
        """The result, if one of the whole lines after the first one completes it, which has its end here."""
        while (start := data.find(self._beginning, end) + 1) and (end := data.find(b"\n", start)) >= 0:
            if found := self._read(data[start:end], now):
                return found
        return None

    def _extend(self, piece: bytes) -> None:
        """Keeps a piece of a line, up to where the line is too long to be a result."""
        self._line += piece[: MAX_LINE + 1 - len(self._line)]

    def _read(self, line: bytes, now: datetime) -> ToolResult | None:
        if not line.startswith(self._prefix):
            return None
        if len(line) > MAX_LINE:
            return ToolResult(now, invalid=f"the result's line has more than {MAX_LINE} bytes; print it in chunks")
        text = line[len(self._prefix) :].strip()
        if text.startswith(b"{"):
            return parsed(text, now)
        whole = self._chunk(text)
        if whole is not None and self.size > MAX_RESULT:
            return _too_large(self.size, now)
        return parsed(whole, now) if whole is not None else None

    def _chunk(self, text: bytes) -> bytes | None:
        """The whole result once its last missing chunk is here; a chunk that makes no sense is passed over."""
        numbers, _, encoded = text.partition(b" ")
        place, _, count = numbers.partition(b"/")
        if not (place.isdigit() and count.isdigit() and len(numbers) < 10):
            return None
        index, total = int(place), int(count)
        if not 1 <= index <= total <= _MAX_CHUNKS or self._count not in (0, total) or index in self._chunks:
            return None
        try:
            self._chunks[index] = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return None
        self.size += len(self._chunks[index])
        if self.size > MAX_RESULT:
            self._chunks[index] = b""  # too large whatever follows: only its size is of interest
        self._count = total
        if len(self._chunks) < total:
            return None
        return b"".join(self._chunks[it] for it in range(1, total + 1))


def parsed(text: bytes, now: datetime) -> ToolResult:
    """The result that a complete line carries; one that is no result says why."""
    if values_in(text) > MAX_VALUES:
        return ToolResult(now, invalid=f"the result has more than {MAX_VALUES} values; store it, and return where")
    try:
        content = json.loads(text.decode(), parse_float=_number, parse_int=_whole, parse_constant=_refused)
    except NotCanonicalError as error:
        return ToolResult(now, invalid=f"the result {error}")
    except (ValueError, RecursionError):
        return ToolResult(now, invalid="the result is no JSON")
    if not isinstance(content, dict) or len(content.keys() & {"output", "error"}) != 1:
        return ToolResult(now, invalid='the result must be {"output": ...} or {"error": {...}}')
    if "output" in content:
        return _output(content["output"], text, now)
    return _error(content["error"], now)


def _too_large(size: int, now: datetime) -> ToolResult:
    return ToolResult(now, invalid=f"the result has {size} bytes; at most {MAX_RESULT} are taken")


def _output(output: Any, text: bytes, now: datetime) -> ToolResult:
    if depth(output) > MAX_DEPTH:
        return ToolResult(now, invalid=f"the result is nested more than {MAX_DEPTH} levels deep")
    try:
        if b"\\ud" in text.lower():  # half of a character would be refused by the API server
            compact(output)
    except NotCanonicalError as error:
        return ToolResult(now, invalid=f"the result {error}")
    return ToolResult(now, output=output)


def _error(error: Any, now: datetime) -> ToolResult:
    named = error.get("class") if isinstance(error, dict) else None
    if not isinstance(named, str) or named not in _CLASSES:
        return ToolResult(now, invalid="the result's error has no class of Transient, Permanent, Unknown")
    message = error.get("message")
    return ToolResult(
        now,
        error_class=named,
        message=printable(message) if isinstance(message, str) else "",
        retry_after=_seconds(error.get("retryAfter")),
    )


def _seconds(wish: Any) -> float | None:
    """How long a tool asks to wait, at most a day; None for what is no time."""
    if isinstance(wish, bool) or not isinstance(wish, int | float) or wish < 0:
        return None
    return float(min(wish, LONGEST_WAIT))


def _number(text: str) -> float | int:
    """A number as the API server will give it back: a whole one has no fraction."""
    found = float(text)
    if found in (float("inf"), float("-inf")):
        raise ValueError("a number beyond what JSON carries")
    return int(found) if found.is_integer() and abs(found) < 2**53 else found


def _whole(text: str) -> int:
    """A whole number that JSON carries exactly."""
    if len(text) > 17 or abs(int(text)) >= 2**53:
        raise NotCanonicalError("has a whole number beyond 2^53, which JSON cannot carry exactly; quote it")
    return int(text)


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def from_termination(message: str, nonce: str, *, complete: bool, now: datetime) -> ToolResult | NoResult:
    """What a termination message says where the log held no result line: the line itself, a promise, or nothing."""
    found = ResultReader(nonce).feed(message.encode() + b"\n", now)
    if found is not None:
        return found
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        return NoResult(complete)
    promised, invalid = content.get("digest"), content.get("invalid")
    return NoResult(
        complete,
        promised=promised if isinstance(promised, str) else "",
        invalid=printable(invalid) if isinstance(invalid, str) else "",
    )
