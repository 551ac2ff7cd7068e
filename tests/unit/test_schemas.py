"""JSON Schema: what is refused when it is compiled, what is said of a value, and what is too heavy to do at once."""

import json
import tracemalloc
from typing import Any

import pytest
from agentruns.core.keywords import unknown_keyword
from agentruns.core.questions import Unanswered, Validation
from agentruns.core.schemas import MAX_BYTES, MAX_PATTERNS, SchemaError, check, problems, validated

from tests.unit.builders import seen

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, SECRET),
        ({"const": "x"}, SECRET),
        ({"enum": ["x", "y"]}, SECRET),
        ({"pattern": "^x"}, SECRET),
        ({"maxLength": 1}, SECRET),
        ({"minimum": 5}, -4242),
        ({"multipleOf": 2}, 4243),
        ({"not": {}}, SECRET),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, SECRET),
        ({"oneOf": [{}, {}]}, SECRET),
        ({"contains": {"const": 1}}, [SECRET]),
        ({"minItems": 3}, [SECRET]),
        ({"maxProperties": 0}, {"a": SECRET}),
        ({"required": ["b"]}, {"a": SECRET}),
        ({"additionalProperties": False}, {"a": SECRET}),
        ({"dependentRequired": {"a": ["b"]}}, {"a": SECRET}),
        ({"prefixItems": [{}], "items": False}, [1, SECRET]),
        ({"if": {"type": "string"}, "then": False}, SECRET),
        ({"unevaluatedProperties": False}, {"a": SECRET}),
        ({"uniqueItems": True}, [SECRET, SECRET]),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [SECRET]}),
    ],
)
def test_a_problem_is_said_without_the_value(schema: dict[str, Any], value: Any) -> None:
    said = validated(json.dumps(schema), value)
    assert said
    assert SECRET not in said
    assert "424" not in said


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"patern": "^a$"}, "JSON Schema has no keyword 'patern'; correct it, or begin it with x-"),
        ({"properties": {"a": {"$defs": {"b": {"enums": []}}}}}, "properties.a.$defs.b: JSON Schema has no keyword"),
        ({"anyOf": [{}, {"not": {"nullable": True}}]}, "anyOf.1.not: JSON Schema has no keyword 'nullable'"),
        ({"items": {"minimum": 1, "max": 2}}, "items: JSON Schema has no keyword 'max'"),
        ({"properties": []}, 'properties: the value is not of type "object"'),
        ({"type": ["string", "nul"]}, "type: must be one of array, boolean, integer, null, number, object, string, or"),
    ],
)
def test_a_schema_that_would_not_check_what_it_seems_to_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError) as refused:
        check(schema)
    assert str(refused.value).startswith(said)


def test_a_schema_of_long_names_takes_no_more_memory_than_it_has() -> None:
    wide: dict[str, Any] = {"properties": {"\U0001f600" + "a" * 30_000: {"allOf": [{}] * 8_000 + [{"z": 1}]}}}
    tracemalloc.start()
    try:
        place, keyword = unknown_keyword(wide)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(place), keyword) == (200, "z")
    assert peak < 10_000_000


def test_a_keyword_that_was_taken_once_keeps_no_result_from_being_judged() -> None:
    """What an older release pinned is used on; it is refused where it would begin."""
    assert problems({"type": "object", "nullable": True}, {"a": 1}, seen()) == ""


def test_names_values_and_extensions_are_no_keywords() -> None:
    check({"properties": {"patern": {"const": {"patern": 1}}}, "x-order": ["patern"], "default": {"patern": 1}})


def test_a_problem_names_its_field() -> None:
    schema = {"properties": {"orders": {"items": {"properties": {"id": {"type": "integer"}}}}}}
    assert problems(schema, {"orders": [{"id": 1}, {"id": "x"}]}, seen()) == (
        'orders[1].id: the value is not of type "integer", but string'
    )


def test_at_most_three_problems_are_told() -> None:
    assert problems({"items": {"type": "integer"}}, ["a"] * 5, seen()).count(";") == 2


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {"anything": 1}),
        ({"type": "object", "required": ["a"]}, {"a": 1}),
        ({"pattern": "^[0-9]+[.][0-9]{2}$"}, "12.50"),
        ({"pattern": r"^[^/]{1,50}$"}, "ü" * 50),
        ({"type": "string", "format": "date"}, "no date: formats are notes, as the standard has it"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"}, "x"),
    ],
)
def test_what_fits_has_no_problem(schema: dict[str, Any], value: Any) -> None:
    check(schema)
    assert problems(schema, value, seen()) == ""


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"properties": {"a": {"type": "strin"}}}, r"^properties\.a\.type: "),
        ({"required": "a"}, r"^required: .*array"),
        ({"properties": {"a": {"pattern": "("}}}, r"^properties\.a\.pattern: .*regex"),
        ({"pattern": r"(a)\1"}, "regex"),
        ({"pattern": "(?=a)a"}, "regex"),
        ({"pattern": "[a-z]{90000}"}, "regex"),
        ({"$ref": "http://example.com/x.json"}, "Retrieval is disabled"),
        ({"$ref": "file:///etc/passwd"}, "Retrieval is disabled"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "No base URI"),
        ({"$id": "http://example.com/x", "$ref": "y"}, "Retrieval is disabled"),
        ({"$dynamicRef": "http://example.com/x.json"}, "not supported"),
        ({"$ref": "#/$defs/missing"}, "does not exist"),
        ({"description": "x" * MAX_BYTES}, f"longer than {MAX_BYTES} bytes"),
        ({"allOf": [{"pattern": f"a{n}"} for n in range(MAX_PATTERNS + 1)]}, f"more than {MAX_PATTERNS} patterns"),
        ({"patternProperties": {f"a{n}": {} for n in range(MAX_PATTERNS + 1)}}, f"more than {MAX_PATTERNS} patterns"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        check(schema)


def test_a_field_may_be_called_like_a_keyword() -> None:
    check({"properties": {"patternProperties": {"type": "string"}, "pattern": {"type": "string"}}})
    check({"enum": [{"patternProperties": 1}], "allOf": [{"pattern": f"a{n}"} for n in range(MAX_PATTERNS)]})


def test_a_pattern_is_matched_in_linear_time() -> None:
    assert "does not match" in problems({"pattern": "^(a+)+$"}, "a" * 20_000 + "!", seen())


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}, 1),
        ({"$dynamicRef": "#"}, 1),
        ({"uniqueItems": True}, [1, 2]),
        ({"unevaluatedItems": False}, [1, 2]),
        ({"unevaluatedProperties": False}, {}),
        ({"description": "x" * 10_000}, "x" * 1000),
    ],
)
def test_what_may_take_long_is_asked_of_the_shell(schema: dict[str, Any], value: Any) -> None:
    with pytest.raises(Unanswered) as asked:
        problems(schema, value, seen())
    [question] = asked.value.questions
    assert question == Validation(json.dumps(schema, sort_keys=True), json.dumps(value))
    assert problems(schema, value, seen(answers={question: "too long"})) == "too long"


@pytest.mark.parametrize("name", ["4711", "007", "a"])
def test_what_is_wrong_with_a_member_is_said_whatever_its_name(name: str) -> None:
    """The library takes names of digits for places in a list."""
    assert 'is not of type "string", but number' in validated('{"additionalProperties": {"type": "string"}}', {name: 1})
