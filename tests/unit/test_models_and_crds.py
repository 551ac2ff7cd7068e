"""The models and the published API hold each other: each field of the one is one of the other, with its default."""

import re
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from agentruns.core.approvals import doubt_request, effect_request
from agentruns.core.files import File, Part
from agentruns.core.inputs import Reader
from agentruns.core.model import duration
from agentruns.core.records import OutputRef, Phase, RunStatus, StepState, StepStatus
from agentruns.core.resources import AgentRun, Approval, ApprovalState, Tool, ToolSpec
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ValidationError

from tests.unit.builders import NOW, a_run, a_tool, an_attempt, seen

CRDS = Path(__file__).parents[2] / "crds"
MODELS = {"agentruns": AgentRun, "tools": Tool, "approvals": Approval}
Schema = dict[str, Any]


def published(plural: str) -> Schema:
    """The OpenAPI schema of a kind."""
    body = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    return dict(body["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def pairs(path: str, schema: Schema, model: type[BaseModel]) -> Iterator[tuple[str, Schema, type[BaseModel]]]:
    """Every object that the API describes and a model reads, with its path."""
    yield path, schema, model
    for alias, kind in kinds(model).items():
        inner = schema["properties"].get(alias, {})
        inner = inner.get("items", inner)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from pairs(f"{path}.{alias}", inner, kind)


def kinds(model: type[BaseModel]) -> dict[str, Any]:
    """What each field of a model holds, or its list holds, by the field's name outside; metadata is Kubernetes' own."""
    fields = {it.alias or name: bare(it.annotation) for name, it in model.model_fields.items()}
    return {alias: kind for alias, kind in fields.items() if alias != "metadata"}


def bare(annotation: Any) -> Any:
    """A type without `| None`, without its annotations and without the list around it."""
    if get_origin(annotation) in (Union, UnionType):
        return bare(next(it for it in get_args(annotation) if it is not type(None)))
    if hasattr(annotation, "__metadata__"):
        return bare(annotation.__origin__)
    if get_origin(annotation) is tuple:
        return bare(get_args(annotation)[0])
    return annotation


OBJECTS = [it for plural, model in MODELS.items() for it in pairs(plural, published(plural), model)]
IDS = [path for path, _, _ in OBJECTS]


@pytest.mark.parametrize(("path", "schema", "model"), OBJECTS, ids=IDS)
def test_every_published_field_is_read_and_every_field_read_is_published(
    path: str, schema: Schema, model: type[BaseModel]
) -> None:
    assert set(schema["properties"]) == set(kinds(model)), path


@pytest.mark.parametrize(("path", "schema", "model"), OBJECTS, ids=IDS)
def test_the_same_fields_must_be_given(path: str, schema: Schema, model: type[BaseModel]) -> None:
    needed = {it.alias or name for name, it in model.model_fields.items() if it.is_required()} - {"metadata"}
    assert needed <= set(schema.get("required", [])), path
    optional = set(schema.get("required", [])) - needed
    assert optional <= {"state"}, f"{path}: {optional} must be given, and the model makes them up"


@pytest.mark.parametrize(("path", "schema", "model"), OBJECTS, ids=IDS)
def test_the_same_defaults_hold(path: str, schema: Schema, model: type[BaseModel]) -> None:
    for name, info in model.model_fields.items():
        alias = info.alias or name
        if info.is_required() or alias == "metadata":
            continue
        published = schema["properties"][alias]
        default = published.get("default")
        if default is None or isinstance(default, dict):
            empty = info.default in ("", 0, None, (), {}) or isinstance(info.default, BaseModel | StrEnum)
            told = f"({info.default}, the default)" in published["description"]
            assert empty or told or alias == "formatVersion", f"{path}.{alias}: {info.default} is not published"
        else:
            read = duration(default) if isinstance(info.default, timedelta) else default
            assert read == info.default, f"{path}.{alias}"


@pytest.mark.parametrize(
    ("path", "schema"), [(path, schema) for path, schema, _ in OBJECTS if path.startswith("agentruns.status")]
)
def test_what_a_later_release_wrote_of_a_status_outlives_changes_under_these_definitions(
    path: str, schema: Schema
) -> None:
    """The API server drops what a schema does not know whenever an object is read and written, by whomever."""
    assert schema.get("x-kubernetes-preserve-unknown-fields") is True, path


def defaults(schema: Schema, *, listed: bool) -> Iterator[Any]:
    """The defaults that a schema has anywhere within a list."""
    if listed and "default" in schema:
        yield schema["default"]
    for inner in schema.get("properties", {}).values():
        yield from defaults(inner, listed=listed)
    if "items" in schema:
        yield from defaults(schema["items"], listed=True)


@pytest.mark.parametrize("plural", MODELS)
def test_no_default_stands_in_a_list(plural: str) -> None:
    """kubectl compares lists of custom resources as they were written: it would say `configured` for ever."""
    assert list(defaults(published(plural)["properties"]["spec"], listed=False)) == []


@pytest.mark.parametrize(("path", "schema", "model"), OBJECTS, ids=IDS)
def test_the_same_values_are_allowed(path: str, schema: Schema, model: type[BaseModel]) -> None:
    for alias, kind in kinds(model).items():
        inner = schema["properties"][alias]
        allowed = get_args(kind) if get_origin(kind) is Literal else ()
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            allowed = tuple(kind) if "enum" in inner else ()
        if allowed or ("enum" in inner and alias != "verdict"):
            assert sorted(inner["enum"]) == sorted(allowed), f"{path}.{alias}"


TYPES = {str: "string", int: "integer", bool: "boolean", timedelta: "string", AwareDatetime: "string"}


@pytest.mark.parametrize(("path", "schema", "model"), OBJECTS, ids=IDS)
def test_the_same_types_are_meant(path: str, schema: Schema, model: type[BaseModel]) -> None:
    for alias, kind in kinds(model).items():
        inner = schema["properties"][alias]
        inner = inner.get("items", inner)
        expected = "string" if isinstance(kind, type) and issubclass(kind, StrEnum) else TYPES.get(kind)
        if alias == "request":
            expected = "object"  # of which the model keeps the digest
        if expected:
            assert inner["type"] == expected, f"{path}.{alias}"
        assert (kind is AwareDatetime) == (inner.get("format") == "date-time"), f"{path}.{alias}"
        assert (kind is timedelta) == ("duration(self)" in str(inner.get("x-kubernetes-validations"))), (
            f"{path}.{alias}"
        )


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (published("agentruns")["properties"]["status"]["properties"]["phase"], Phase),
        (
            published("agentruns")["properties"]["status"]["properties"]["steps"]["items"]["properties"]["state"],
            StepState,
        ),
        (published("approvals")["properties"]["status"]["properties"]["state"], ApprovalState),
    ],
)
def test_an_open_enum_is_spelt_out_in_words(schema: Schema, values: type[StrEnum]) -> None:
    assert "enum" not in schema
    assert all(re.search(rf"\b{value}\b", schema["description"]) for value in values)


# ------------------------------------------------------------------------------------------- durations


def pattern_of_durations() -> re.Pattern[str]:
    """The pattern as the API server applies it."""
    rule = published("tools")["properties"]["spec"]["properties"]["timeout"]["x-kubernetes-validations"][0]["rule"]
    found = re.search(r"self\.matches\('(.*?)'\)", rule)
    assert found
    return re.compile(found.group(1))


PATTERN = pattern_of_durations()


@given(st.text("0159hms -.", max_size=10))
def test_a_duration_is_read_if_and_only_if_the_api_takes_it(text: str) -> None:
    taken = text != "" and PATTERN.search(text) is not None
    try:
        duration(text)
    except ValueError as error:
        assert not taken
        assert "write it like 30s, 5m or 1h30m" in str(error)
    else:
        assert taken


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1h0m1s", 3601), ("8760h", 31_536_000), ("0s", 0)]
)
def test_a_duration_is_hours_minutes_and_seconds(text: str, seconds: int) -> None:
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "1", "1d", "-1s", "1.5s", "1s1m", "1h 1m", "１s\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a duration"):
        ToolSpec.model_validate({"description": "d", "image": "i", "timeout": text})


def test_a_duration_is_written_in_seconds() -> None:
    assert a_tool(timeout="1h30m").model_dump(mode="json")["timeout"] == "5400s"


# ------------------------------------------------------------------------------------- what is written


def test_a_request_has_published_fields_only() -> None:
    described = published("approvals")["properties"]["spec"]["properties"]["request"]
    run, step = a_run(), a_run().spec.steps[0]
    reference = OutputRef(name="o", key="k", digest="d", bytes=1)
    file = File(("a",), Part("lookup", reference, (), "x", 3))
    effect = effect_request(Reader(run, {}, seen()), step, an_attempt(args={"a": "x"}, files=(file,)))
    doubt = doubt_request(Reader(run, {}, seen()), step, an_attempt(), StepStatus(name="a", message="lost"))
    assert set(effect) | set(doubt) == set(described["properties"])
    assert set(effect["files"][0]) == set(described["properties"]["files"]["items"]["properties"])
    assert set(effect["tool"]) == set(described["properties"]["tool"]["properties"])


def test_an_empty_status_says_only_where_the_run_is() -> None:
    assert RunStatus().body() == {"observedGeneration": 0, "formatVersion": 1, "phase": "Pending", "activeSeconds": 0}


def test_what_a_tool_returned_is_stored_as_it_is() -> None:
    outputs: list[Any] = [[], {}, "", 0, False, {"a": None, "b": [], "output": ""}, [None, {"c": ""}]]
    for output in outputs:
        step = StepStatus(name="s", state=StepState.SUCCEEDED, output=output)
        body = RunStatus(steps=(step,), output=output, started_at=NOW).body()
        assert (body["output"], body["steps"][0]["output"]) == (output, output)
        assert RunStatus.model_validate(body).steps == (step,)


def test_times_are_stored_in_milliseconds_and_fields_by_their_names() -> None:
    body = RunStatus(started_at=NOW.replace(microsecond=123_456), steps=(StepStatus(name="s", pod_uid="u"),)).body()
    assert body["startedAt"] == "2026-01-02T12:00:00.123Z"
    assert body["steps"] == [{"name": "s", "state": "Pending", "attempt": 0, "epoch": 0, "podUID": "u"}]


def test_what_a_later_release_added_is_left_aside() -> None:
    assert RunStatus.model_validate({"phase": "Running", "novelty": 1}).phase is Phase.RUNNING


def test_no_model_keeps_the_names_of_the_fields_that_were_given() -> None:
    """A set of them for each of the models in thousands of runs would be half of what the operator keeps in memory."""
    run = a_run()
    models = (run, run.metadata, run.spec, *run.spec.steps, run.status)
    assert [it.model_fields_set for it in models] == [set()] * len(models)
    assert len({id(it.model_fields_set) for it in models}) == 1
