"""The text of a CEL expression, looked at before it is compiled: its tokens, loops, and the steps it reads."""

import re
from collections.abc import Iterator
from itertools import pairwise

_TOKEN = re.compile(
    r"""(?P<string>[rR]?(?:\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))"""
    r"""|(?P<macro>\.\s*(?:all|exists_one|exists|map|filter)\s*\()"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<space>\s+)|(?P<mark>.)""",
    re.DOTALL,
)


class ExpressionError(ValueError):
    """An expression that does not compile, asks for what it may not read, or has no usable value."""


def tokens(source: str) -> Iterator[tuple[str, str]]:
    """Every token as (kind, text), white space included: string, macro, word, space or mark."""
    for found in _TOKEN.finditer(source):
        yield str(found.lastgroup), found.group()


def nesting(source: str) -> int:
    """How many comprehensions stand inside one another at the deepest place."""
    deepest, open_brackets = 0, list[bool]()
    for kind, text in tokens(source):
        if kind == "macro" or text in ("(", "[", "{"):
            open_brackets.append(kind == "macro")
            deepest = max(deepest, sum(open_brackets))
        elif text in (")", "]", "}") and open_brackets:
            open_brackets.pop()
    return deepest


def bound_names(source: str) -> frozenset[str]:
    """The names that comprehensions bind."""
    solid = _solid(source)
    pairs = pairwise(solid)
    return frozenset(word for (kind, _), (next_kind, word) in pairs if kind == "macro" and next_kind == "word")


def steps_read(source: str) -> frozenset[str]:
    """The steps an expression reads; it must name them, so that what a step needs is known before it runs."""
    solid = [("mark", ""), *_solid(source), ("mark", ""), ("mark", "")]
    found = set()
    for before, here, dot, name in zip(solid, solid[1:], solid[2:], solid[3:], strict=False):
        if here != ("word", "steps") or before[1] == ".":
            continue
        if dot[1] != "." or name[0] != "word":
            raise ExpressionError("`steps` must be followed by a step's name, as in steps.lookup.output")
        found.add(name[1])
    return frozenset(found)


def _solid(source: str) -> list[tuple[str, str]]:
    return [token for token in tokens(source) if token[0] != "space"]
