"""Strings of a spec with `${...}` in them. Only what a person wrote in `spec` is a template, and only once."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from agentruns.core.digests import size
from agentruns.core.expressions import MAX_SIZE, Expression, Path, compiled, in_words
from agentruns.core.lexing import ExpressionError, tokens
from agentruns.core.problems import within
from agentruns.core.questions import all_answered


@dataclass(frozen=True)
class Part:
    """A piece of a template: an expression's source, or a text to carry as it is."""

    text: str
    is_expression: bool


@lru_cache(maxsize=4096)
def parts(text: str) -> tuple[Part, ...]:
    """A template taken apart; `$${` is a literal `${`. ExpressionError if an expression is not closed."""
    found, literal, position = list[Part](), list[str](), 0
    while (start := text.find("${", position)) >= 0:
        if start > position and text[start - 1] == "$":
            literal += [text[position : start - 1], "${"]
            position = start + 2
            continue
        literal.append(text[position:start])
        end = _closing(text, start + 2)
        found += [Part("".join(literal), False), Part(text[start + 2 : end].strip(), True)]
        literal, position = [], end + 1
    found.append(Part("".join([*literal, text[position:]]), False))
    return tuple(part for part in found if part.text or part.is_expression)


def _closing(text: str, start: int) -> int:
    """The place of the brace that closes the expression that starts there; braces in strings do not count."""
    depth, position = 0, start
    for _, token in tokens(text, start):
        if token == "}" and depth == 0:
            return position
        depth += {"{": 1, "}": -1}.get(token, 0)
        position += len(token)
    raise ExpressionError("a `${` is not closed; write `$${` for the two characters themselves")


def expressions_in(value: Any, path: str) -> Iterator[tuple[str, Expression]]:
    """Every expression in a value's strings, with the path of the field; Problem where one does not compile."""
    for place, text in strings_in(value, path):
        with within(place):
            found = [compiled(part.text) for part in parts(text) if part.is_expression]
        yield from ((place, expression) for expression in found)


def strings_in(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every string in a value, with its path in words, which begins with this one."""
    for place, text in strings(value):
        yield path + in_words(place), text


def strings(value: Any, place: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every string in a value, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings(item, (*place, index))


def expanded(value: Any, path: str, evaluate: Callable[[str], Any]) -> Any:
    """The value with its templates replaced; one that is a single expression keeps its value's type. Or a Problem."""
    return _Filling(evaluate).filled(value, path)


class _Filling:
    """Templates being replaced, and how much has come of them so far."""

    def __init__(self, evaluate: Callable[[str], Any]) -> None:
        self._evaluate, self._size = evaluate, 0

    def filled(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            found = all_answered(partial(self.filled, item, f"{path}.{key}") for key, item in value.items())
            return dict(zip(value, found, strict=True))
        if isinstance(value, list):
            return all_answered(partial(self.filled, item, f"{path}[{index}]") for index, item in enumerate(value))
        if not isinstance(value, str):
            return value
        with within(path):
            return self._text(parts(value))

    def _text(self, pieces: tuple[Part, ...]) -> Any:
        if len(pieces) == 1 and pieces[0].is_expression:
            return self._counted(self._evaluate(pieces[0].text))
        return "".join(
            self._counted(as_text(self._evaluate(piece.text)) if piece.is_expression else piece.text)
            for piece in pieces
        )

    def _counted(self, value: Any) -> Any:
        self._size += size(value, MAX_SIZE)
        if self._size > MAX_SIZE:
            raise ExpressionError(f"with this, more than {MAX_SIZE} characters and values come together; pass less")
        return value


def as_text(value: Any) -> str:
    """A value inside a longer string: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
