"""CEL, and what an expression costs.

The library behind this has no cost limit, so an expression is bounded before it is compiled, weighed before it is
evaluated, and what is not trivially cheap is asked of the shell, which evaluates it where it can be stopped.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, Final

import cel

from agentruns.core.digests import size, values_in
from agentruns.core.lexing import ExpressionError, bound_names, nesting, remedy, steps_read
from agentruns.core.observed import Observed
from agentruns.core.problems import json_type
from agentruns.core.questions import Evaluation

MAX_BYTES: Final = 2048
MAX_NESTING: Final = 2
MAX_SIZE: Final = 65_536
"""Characters and values of what an expression becomes, and of a field with its expressions replaced."""
_FUNCTIONS: Final = (
    "bytes contains double duration dyn endsWith getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear getHours "
    "getMilliseconds getMinutes getMonth getSeconds hasValue int matches none of orValue size startsWith string "
    "timestamp type uint value"
)
FUNCTIONS: Final = frozenset(_FUNCTIONS.split())
"""What the library knows besides operators and loops; it says so only when an expression is evaluated."""
_CEL_TYPES: Final = {"datetime": "timestamp", "timedelta": "duration", "dict": "map with other keys than strings"}
_NAMES: Final = 10
_NAME_LENGTH: Final = 63
_LOOKED_AT: Final = 100
"""Names that are looked at for being told: a tool's output may have thousands, and each of a thousand steps ask."""
_QUOTED: Final = re.compile(r"""["'].*["']""")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
CHEAP_VALUES: Final = 256
"""Values in the data that the library is handed for one expression: each costs about a microsecond."""
CHEAP_BYTES: Final = 1_000_000
"""Bytes of expression times bytes of data, where nothing loops: at most a millisecond of work."""
_HEAD: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_LINK: Final = re.compile(
    r"""\.(?P<name>[A-Za-z_]\w*)|\[(?P<index>0|[1-9]\d{0,8})\]|\[(?P<quote>["'])(?P<key>[^"'\\\r\n]*)(?P=quote)\]""",
    re.ASCII,
)

Path = tuple[str | int, ...]
"""Names and indices, from the outside in."""


class Walked:
    """What was found at paths in a value, as copies: no more of it than two fields may have."""

    def __init__(self) -> None:
        self._found, self._size = dict[Path, Any](), 0

    def at(self, path: Path, value: Any) -> Any:
        """What is there, small and in order; an ExpressionError if it is not."""
        if path not in self._found:
            found = _small(found_at(path, value))
            length = size(found, MAX_SIZE)
            if self._size + length > 2 * MAX_SIZE:
                self._found, self._size = {}, 0
            self._found[path] = found
            self._size += length
        return self._found[path]


@dataclass(frozen=True)
class Data:
    """A JSON value that expressions read, and its text, which is made once."""

    value: Any
    walked: Walked = field(default_factory=Walked, compare=False)
    """What was found in it: a thousand steps may read the same megabyte."""

    @cached_property
    def text(self) -> str:
        """The value as JSON."""
        return json.dumps(self.value)

    @cached_property
    def values(self) -> int:
        """How many values there are in it, at most."""
        return 1 + values_in(self.text)


@dataclass(frozen=True)
class Expression:
    """A compiled expression: what it reads, how deep its loops nest, and whether it matches regular expressions."""

    source: str
    program: cel.Program
    names: frozenset[str]
    steps: frozenset[str]
    nesting: int
    matches: bool

    def check(self, *known: str) -> None:
        """Raises ExpressionError if a name is unknown here."""
        for name in sorted(self.names - set(known)):
            raise ExpressionError(f"unknown name {name!r}; known here: {', '.join(known)}")


@lru_cache(maxsize=4096)
def compiled(source: str) -> Expression:
    """The expression behind a source text; ExpressionError says where it is wrong."""
    if len(source.encode()) > MAX_BYTES:
        raise ExpressionError(f"is longer than {MAX_BYTES} bytes; compute it in a step instead")
    deepest = nesting(source)
    if deepest > MAX_NESTING:
        raise ExpressionError(f"nests comprehensions {deepest} deep; at most {MAX_NESTING} are allowed")
    if source.lstrip().startswith("${"):
        raise ExpressionError("is an expression as it is; write it without `${` and `}`")
    try:
        program = cel.compile(source)
    except Exception as error:  # the library raises several kinds for one cause: the text is no CEL
        said = _first_line(error).partition(" expecting {")[0].replace("mismatched input '<EOF>'", "it ends too early")
        raise ExpressionError(f"{said}{remedy(source)}") from error
    functions = {name for name in program.functions() if _PLAIN_NAME.fullmatch(name)}
    for unknown in sorted(functions - FUNCTIONS):
        near = get_close_matches(unknown, FUNCTIONS, 1)
        known = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(FUNCTIONS))}"
        raise ExpressionError(f"unknown function {unknown!r}; {known}")
    names = frozenset(program.variables()) - bound_names(source)
    return Expression(source, program, names, steps_read(source), deepest, "matches" in functions)


def value(source: str, environment: Mapping[str, Data], seen: Observed) -> Any:
    """The JSON value of an expression; raises ExpressionError, or Unanswered where it must be evaluated elsewhere."""
    path = path_of(source)
    if path and path[0] in environment:
        return _walked(path, environment[str(path[0])])
    environment = {name: data for name, data in environment.items() if name in source}  # others may be large
    if _is_cheap(source, environment):
        return evaluated(source, {name: data.value for name, data in environment.items()})
    text = ",".join(f"{json.dumps(name)}:{data.text}" for name, data in environment.items())
    answer = seen.answer(Evaluation(source, f"{{{text}}}"))
    if isinstance(answer, ExpressionError):
        raise answer
    return answer


@lru_cache(maxsize=4096)
def path_of(source: str) -> Path:
    """The names and indices that an expression consists of, if it is nothing but a path; none if it is not."""
    head = _HEAD.match(source)
    path, end = list[str | int]([head[0]] if head else []), head.end() if head else 0
    while link := _LINK.match(source, end):
        path.append(int(link["index"]) if link["index"] else link["name"] or link["key"])
        end = link.end()
    return tuple(path) if len(path) > 1 and end == len(source) else ()


def _walked(path: Path, data: Data) -> Any:
    """The value at a path, which most expressions are; the library would be handed all of the data to take a part."""
    found = data.walked.at(path, data.value)
    if isinstance(found, ExpressionError):
        raise found.with_traceback(None)
    return found


def found_at(path: Path, value: Any) -> Any:
    """What is at a path that begins with the name of the value, as it is; an ExpressionError if nothing is."""
    for place, name in enumerate(path[1:], 1):
        within = isinstance(value, list) and name < len(value) if isinstance(name, int) else _has(value, name)
        if not within:
            return ExpressionError(f"there is no {name!r} in {path[0]}{in_words(path[1:place])}, {_outline(value)}")
        value = value[name]
    return value


def _has(value: Any, name: str) -> bool:
    return isinstance(value, dict) and name in value


def in_words(path: Path) -> str:
    """A path as it stands behind the name of what it is in: `.steps[0].args`."""
    return "".join(f"[{it}]" if isinstance(it, int) else f".{it}" for it in path)


def _small(found: Any) -> Any:
    """The same, in order, if it is of the size that any field may have; an ExpressionError if it is not."""
    if size(found, MAX_SIZE) > MAX_SIZE:
        return ExpressionError(f"has more than {MAX_SIZE} characters and values; pass less")
    return ordered(found)


def _outline(value: Any) -> str:
    """What a value is, and the names in it: whoever wrote another one sees which there are."""
    if not isinstance(value, dict):
        return f"which is: {json_type(value)}"
    plain = (name for name in islice(value, _LOOKED_AT) if len(name) <= _NAME_LENGTH and _PLAIN_NAME.fullmatch(name))
    names = sorted(islice(plain, _NAMES))
    return f"which has: {', '.join(names) or 'nothing'}" + (", and more" if len(value) > len(names) else "")


def _is_cheap(source: str, environment: Mapping[str, Data]) -> bool:
    """Whether it takes at most a millisecond; what loops can multiply its data, chained as well as nested."""
    expression, data = compiled(source), environment.values()
    return (
        not expression.nesting
        and not expression.matches
        and sum(it.values for it in data) <= CHEAP_VALUES
        and len(source) * sum(len(it.text) for it in data) <= CHEAP_BYTES
    )


def evaluated(source: str, environment: dict[str, Any]) -> Any:
    """The JSON value of an expression, computed here and now, however long it takes; raises ExpressionError."""
    program = compiled(source).program
    try:
        found = program.execute(environment)
    except Exception as error:  # whatever the library raises, the expression has no value
        raise ExpressionError(_explained(error, source)) from error
    _require_json(found)
    return ordered(found)


def ordered(found: Any) -> Any:
    """The same value with its keys in order: a tool, the API server and the library each have one of their own."""
    return json.loads(json.dumps(found, sort_keys=True)) if isinstance(found, dict | list) else found


def _explained(error: Exception, source: str) -> str:
    """The library's error in one line, without the data that it quotes; a name that the source has is said."""
    if isinstance(error, KeyError):
        name = str(error.args[0])
        return f"there is no {name!r} in what it reads" if name in source else "there is no such name in what it reads"
    said = _first_line(error)
    if said.startswith("No such overload"):
        return "no operation of that name for values of these types; convert them, as in double(x), int(x), string(x)"
    return _QUOTED.sub(lambda quoted: quoted[0] if quoted[0][1:-1] in source else "…", said.partition("{")[0])


def _first_line(error: Exception) -> str:
    """What the library says, without the source that it repeats."""
    _, _, place_and_cause = str(error).partition(": ERROR: <input>:")
    said = (place_and_cause or str(error)).strip().partition("\n")[0]
    return said[:300] or type(error).__name__


def _require_json(found: Any) -> None:
    pending = [found]
    while pending:
        item = pending.pop()
        if isinstance(item, dict) and all(isinstance(key, str) for key in item):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise ExpressionError("its value is not a finite number")
        elif not (item is None or isinstance(item, str | int | float)):
            kind = _CEL_TYPES.get(type(item).__name__, type(item).__name__)
            raise ExpressionError(f"its value is of type {kind}, which JSON does not have; use string(...)")
