"""What cannot work, said with the field and the remedy: a user's mistake is a decision, and not a failure of ours."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final


class Problem(ValueError):  # noqa: N818 - it is no error of this program
    """Something that cannot work; the message names the field and the remedy, the reason goes into the status."""

    def __init__(self, message: str, reason: str = "InvalidSpec") -> None:
        super().__init__(message)
        self.reason = reason


_JSON_TYPES: Final = ((bool, "boolean"), (str, "string"), (int | float, "number"), (list, "list"), (dict, "object"))


def json_type(value: Any) -> str:
    """What a JSON value is, in JSON's terms and not in Python's."""
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), "null")


MESSAGE_LENGTH: Final = 1024
"""Bytes, as the cluster's store has them."""
_LINE_ENDS: Final = ("\u2028".encode(), "\u2029".encode())
_ESCAPED: Final = frozenset('"\\<>&')


def printable(text: str, length: int = MESSAGE_LENGTH) -> str:
    """Somebody's words, short, in one line, without characters that do something to a terminal."""
    return cut("".join(it if it.isprintable() else " " for it in text[:length]), length)


def stored_bytes(text: bytes) -> int:
    """Bytes that a JSON text takes in the cluster's store, where six stand for what could be markup, or end a line."""
    return len(text) + 5 * sum(map(text.count, (b"<", b">", b"&"))) + 3 * sum(map(text.count, _LINE_ENDS))


def is_plain(text: str) -> bool:
    """Whether each character of a text takes one byte in the cluster's store."""
    return text.isascii() and text.isprintable() and _ESCAPED.isdisjoint(text)


def cut(text: str, length: int) -> str:
    """The beginning of a text that takes at most so many bytes in the cluster's store."""
    text = text[:length]
    if is_plain(text):
        return text
    left = length
    for place, character in enumerate(text):
        left -= stored_bytes(json.dumps(character, ensure_ascii=False).encode()) - 2
        if left < 0:
            return text[:place]
    return text


@contextmanager
def within(field: str) -> Iterator[None]:
    """Has every Problem of what is done inside say which field it is about."""
    try:
        yield
    except Problem as problem:
        raise Problem(f"{field}: {problem}", problem.reason) from problem
