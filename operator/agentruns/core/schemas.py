"""JSON Schema (draft 2020-12) for what goes into a tool and comes out of it.

Patterns are matched in linear time and references stay inside the schema. What could still take long (references
that multiply, large values) is asked of the shell, which validates it where it can be stopped.
"""

import json
from functools import lru_cache
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from agentruns.core.keywords import EXTENSION, unknown_keyword
from agentruns.core.observed import Observed
from agentruns.core.problems import Problem, json_type
from agentruns.core.questions import Validation

MAX_BYTES: Final = 65_536
CHEAP: Final = 4_000_000
"""Bytes of schema times bytes of value: about a millisecond of work."""
MAX_PATTERNS: Final = 64
_PATTERN_SIZE: Final = 1 << 18
"""Bytes of one compiled pattern: one of that size takes a millisecond or two to compile."""
_PATTERNS_SIZE: Final = 1 << 20
"""Bytes of all compiled patterns of a schema, shared out among them."""
_REFERENCES: Final = ("$ref", "$dynamicRef")
_UNEVALUATED: Final = ("unevaluatedProperties", "unevaluatedItems")
_MULTIPLIERS: Final = (*_REFERENCES, *_UNEVALUATED, "uniqueItems")
_TYPES: Final = "array, boolean, integer, null, number, object, string"
_SHOWN: Final = 3


class SchemaError(Problem):
    """A schema that does not compile; the message says where."""


def check(schema: dict[str, Any]) -> None:
    """Raises SchemaError unless the schema compiles, is of a bearable size and refers to nothing outside itself."""
    _validator(json.dumps(schema, sort_keys=True))
    place, keyword = unknown_keyword(schema)
    if keyword:
        at = f"{place}: " if place else ""
        raise SchemaError(f"{at}JSON Schema has no keyword {keyword!r}; correct it, or begin it with {EXTENSION}")


def of_names(schema: dict[str, Any]) -> dict[str, Any]:
    """What a schema says of an object's names alone: of one whose values are not known yet, that much can be told."""
    found = {"required": schema["required"]} if "required" in schema else {}
    if schema.get("additionalProperties") is not False:
        return found
    known = {it: dict.fromkeys(schema.get(it) or {}, True) for it in ("properties", "patternProperties")}
    return {**found, **known, "additionalProperties": False}


def problems(schema: dict[str, Any], value: Any, seen: Observed) -> str:
    """What is wrong with a value, naming fields and never their contents; empty if nothing is."""
    schema_text, value_text = json.dumps(schema, sort_keys=True), json.dumps(value)
    multiplies = any(f'"{keyword}"' in schema_text for keyword in _MULTIPLIERS)
    if not multiplies and len(schema_text) * len(value_text) <= CHEAP:
        return validated(schema_text, value)
    return str(seen.answer(Validation(schema_text, value_text)))


def validated(schema_text: str, value: Any) -> str:
    """What is wrong with a value, computed here and now, however long it takes; empty if nothing is."""
    found = []
    for error in _validator(schema_text).iter_errors(value):
        found.append(_sentence(error) + _kind_of(error))
        if len(found) == _SHOWN:
            break
    return "; ".join(found)


@lru_cache(maxsize=32)
def _validator(schema_text: str) -> Draft202012Validator:
    if len(schema_text) > MAX_BYTES:
        raise SchemaError(f"is longer than {MAX_BYTES} bytes")
    schema = json.loads(schema_text)
    patterns = _patterns(schema)
    if patterns > MAX_PATTERNS:
        raise SchemaError(f"has more than {MAX_PATTERNS} patterns; check the rest in the tool itself")
    if any(f'"{it}"' in schema_text for it in _UNEVALUATED) and any(f'"{it}"' in schema_text for it in _REFERENCES):
        raise SchemaError("has unevaluated... beside references, which multiply one another; use additionalProperties")
    size = min(_PATTERN_SIZE, _PATTERNS_SIZE // max(patterns, 1))
    options = RegexOptions(size_limit=size, dfa_size_limit=size)
    try:
        return Draft202012Validator(
            schema, offline=True, pattern_options=options, mask="the value", validate_formats=False
        )
    except ValidationError as error:
        raise SchemaError(_of_schema(error)) from error
    except ValueError as error:  # nested too deeply for the library
        raise SchemaError(str(error)[:300]) from error


def _patterns(schema: Any) -> int:
    """How many regular expressions a schema has, counted without recursion."""
    found, pending = 0, [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            named = node.get("patternProperties")
            found += ("pattern" in node) + (len(named) if isinstance(named, dict) else 0)
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return found


def _of_schema(error: ValidationError) -> str:
    """What is wrong with a schema; the one rule of the standard that is an `anyOf` is said in words."""
    if error.kind.name == "anyOf":
        return f"{_place(error)}: must be one of {_TYPES}, or a list of them"
    return _sentence(error)


def _sentence(error: ValidationError) -> str:
    place = _place(error)
    return f"{place}: {error.message}" if place else error.message


def _kind_of(error: ValidationError) -> str:
    """What the value is instead, where it is of a wrong type."""
    return f", but {json_type(error.instance)}" if error.kind.name == "type" else ""


def _place(error: ValidationError) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
    return place.lstrip(".")
