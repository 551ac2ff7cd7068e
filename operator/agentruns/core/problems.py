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
"""Bytes of JSON."""


def printable(text: str, length: int = MESSAGE_LENGTH) -> str:
    """Somebody's words, short, in one line, without characters that do something to a terminal."""
    return cut("".join(it if it.isprintable() else " " for it in text[:length]), length)


def cut(text: str, length: int) -> str:
    """The beginning of a text that takes at most so many bytes as JSON."""
    text = text[:length]
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    left = length
    for place, character in enumerate(text):
        left -= len(json.dumps(character, ensure_ascii=False).encode()) - 2
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
