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


def unknown_keyword(schema: Any) -> tuple[str, str]:
    """The place of a schema within this one, and a keyword there that does not exist; two empty texts without one."""
    pending = [("", schema)]
    while pending:
        place, node = pending.pop()
        if isinstance(node, dict):
            for word in node:
                if word not in _KNOWN and not word.startswith(EXTENSION):
                    return place, word
            pending += _below(place, node)
    return "", ""


def _below(place: str, node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas directly inside a schema, each with its place."""
    for word, value in node.items():
        path = f"{place}.{word}" if place else word
        if word in _SCHEMA:
            yield path, value
        elif word in _LISTS and isinstance(value, list):
            yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
        elif word in _MAPS and isinstance(value, dict):
            yield from ((f"{path}.{name}", item) for name, item in value.items())
