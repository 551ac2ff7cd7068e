"""The text of a CEL expression, looked at before it is compiled: its tokens, loops, and the steps it reads."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from agentruns.core.problems import Problem

Token = tuple[str, str]
"""Its kind (comment, string, unclosed, word, space or mark) and its text."""

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*)"""
    r"""|(?P<string>[bB]?[rR](?:\"\"\".*?\"\"\"|'''.*?'''|"[^"\n\r]*"|'[^'\n\r]*')"""
    r"""|[bB]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n\r])*"|'(?:\\.|[^'\\\n\r])*'))"""
    r"""|(?P<unclosed>["'].*)"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<space>\s+)|(?P<mark>.)""",
    re.DOTALL,
)
"""As the library reads it: whatever this saw as text and the library as code would be code that nobody looked at."""
_MEMBERS: Final = ("output", "state")
_OPERATORS: Final = ("and", "or", "not")
_LOOPS: Final = frozenset({"all", "exists", "existsOne", "exists_one", "filter", "map"})


class ExpressionError(Problem):
    """An expression that does not compile, asks for what it may not read, or has no usable value."""


def tokens(source: str, start: int = 0) -> Iterator[Token]:
    """Every token from `start` on, white space and comments included, in time linear in their size."""
    for found in _TOKEN.finditer(source, start):
        yield str(found.lastgroup), found.group()


def nesting(source: str) -> int:
    """How many comprehensions stand inside one another at the deepest place."""
    solid = _solid(source)
    loops = _loops(solid)
    deepest, open_brackets = 0, list[bool]()
    for place, (_, text) in enumerate(solid):
        if text in ("(", "[", "{"):
            open_brackets.append(place in loops)
            deepest = max(deepest, sum(open_brackets))
        elif text in (")", "]", "}") and open_brackets:
            open_brackets.pop()
    return deepest


def bound_names(source: str) -> frozenset[str]:
    """The names that comprehensions bind."""
    solid = _solid(source)
    return frozenset(solid[place + 1][1] for place in _loops(solid) if place + 1 < len(solid))


def steps_read(source: str) -> frozenset[str]:
    """The steps an expression reads; it must name them, so that what a step needs is known before it runs."""
    solid = [("mark", ""), *_solid(source), *[("mark", "")] * 5]
    found = set()
    for place in range(1, len(solid) - 5):
        before, here, dot, name, then, member, bracket = solid[place - 1 : place + 6]
        if here != ("word", "steps") or before[1] == ".":
            continue
        if dot[1] != "." or name[0] != "word":
            raise ExpressionError("`steps` must be followed by a step's name, as in steps.lookup.output")
        if then[1] == "." and member[0] == "word" and member[1] not in _MEMBERS and bracket[1] != "(":
            raise ExpressionError(f"steps.{name[1]} has no {member[1]!r}; it has: {', '.join(_MEMBERS)}")
        found.add(name[1])
    return frozenset(found)


def assigns(source: str) -> bool:
    """Whether a single `=` stands in it, which CEL does not have."""
    marks = [text for _, text in _solid(source)]
    around = zip(["", *marks], marks, [*marks, ""][1:], strict=False)
    return any(here == "=" != after and before not in ("=", "!", "<", ">") for before, here, after in around)


def remedy(source: str) -> str:
    """What to write instead where it is plain what was meant; empty where it is not."""
    solid = _solid(source)
    if assigns(source):
        return "; to compare, write =="
    if ".?" in source:
        return "; ask with has(a.b)"
    if any(kind == "word" and text in _OPERATORS for kind, text in solid):
        return "; write && for and, || for or, ! for not"
    return "; write `${` and `}`, each with one brace" if solid[:1] == [("mark", "{")] else ""


def _loops(solid: Sequence[Token]) -> frozenset[int]:
    """The places of the brackets that open a comprehension, as in `.map(`."""
    calls = zip(solid, solid[1:], solid[2:], strict=False)
    return frozenset(
        place + 2
        for place, (dot, name, bracket) in enumerate(calls)
        if dot[1] == "." and name[1] in _LOOPS and bracket[1] == "("
    )


def _solid(source: str) -> list[Token]:
    return [token for token in tokens(source) if token[0] not in ("space", "comment")]
