"""The keywords of JSON Schema. One that the standard does not have checks nothing, so a misspelt one is refused."""

from collections.abc import Iterator
from typing import Any, Final

_SCHEMA: Final = frozenset(
    """
    additionalProperties contains contentSchema else if items not propertyNames then unevaluatedItems
    unevaluatedProperties
    """.split()  # noqa: SIM905 - a list of words reads better as words
)
"""Keywords whose value is a schema."""
_LISTS: Final = frozenset(["allOf", "anyOf", "oneOf", "prefixItems"])
"""Keywords whose value is a list of schemas."""
_MAPS: Final = frozenset(["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"])
"""Keywords whose value has schemas under names of the author's choice."""
_OTHERS: Final = frozenset(
    """
    $anchor $comment $dynamicAnchor $dynamicRef $id $ref $schema $vocabulary const contentEncoding contentMediaType
    default dependentRequired deprecated description enum examples exclusiveMaximum exclusiveMinimum format maxContains
    maxItems maxLength maxProperties maximum minContains minItems minLength minProperties minimum multipleOf pattern
    readOnly required title type uniqueItems writeOnly
    """.split()  # noqa: SIM905
)
_KNOWN: Final = _SCHEMA | _LISTS | _MAPS | _OTHERS
EXTENSION: Final = "x-"
_SHOWN: Final = 200


_Place = tuple["_Place", str] | None
"""A place by its last part and the place around it: made for every schema, and put into words for one."""


def unknown_keyword(schema: Any) -> tuple[str, str]:
    """The place of a schema within this one, and a keyword there that does not exist; two empty texts without one."""
    pending: list[tuple[_Place, Any]] = [(None, schema)]
    while pending:
        place, node = pending.pop()
        for word in node if isinstance(node, dict) else ():
            if word not in _KNOWN and not word.startswith(EXTENSION):
                return _in_words(place), word[:_SHOWN]
        pending += _below(place, node)
    return "", ""


def _below(place: _Place, node: Any) -> Iterator[tuple[_Place, Any]]:
    """The schemas directly inside a schema, each with its place."""
    for word, value in node.items() if isinstance(node, dict) else ():
        here = (place, word)
        if word in _SCHEMA:
            yield here, value
        elif word in _LISTS and isinstance(value, list):
            yield from (((here, str(index)), item) for index, item in enumerate(value) if isinstance(item, dict))
        elif word in _MAPS and isinstance(value, dict):
            yield from (((here, name), item) for name, item in value.items() if isinstance(item, dict))


def _in_words(place: _Place) -> str:
    parts = []
    while place is not None:
        place, part = place
        parts.append(part[:_SHOWN])
    return ".".join(reversed(parts))[:_SHOWN]
