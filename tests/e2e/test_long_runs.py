"""A run of many steps keeps its status small, and loses nothing of what they did."""

from __future__ import annotations

import json

import pytest

from tests.accounts import Body
from tests.journal import journal_of
from tests.space import ECHO, Space, step, steps_of

COUNT = 150
MEGABYTES = "import sys; print('noise ' * 500_000, file=sys.stderr); print('\"' + 'x' * 2**21 + '\"')"
NAMES = [f"s{n}" for n in range(COUNT)]


@pytest.fixture(scope="module")
def ended(shared_space: Space) -> Body:
    """How a run ended whose last step reads what its first one did."""
    space = shared_space
    space.tool("echo", ECHO)
    space.tool("megabytes", MEGABYTES)
    many = [step(name, "echo", args={"of": name}) for name in NAMES]
    large = step("large", "megabytes", onFailure="Continue")
    needs = ["s0", "large", *NAMES[-10:]]
    last = step("last", "echo", needs=needs, args={"read": "${steps.s0.output}", "large": "${steps.large.state}"})
    output = {"first": "${steps.s0.output.of}", "middle": "${steps.s75.output.of}"}
    space.start("long", large, *many, last, order="Graph", parallelism=20, output=output)
    return space.ended("long", seconds=600)


@pytest.fixture(scope="module")
def journal(ended: Body, shared_space: Space) -> list[Body]:
    """The records in the run's journal."""
    return journal_of(shared_space, ended)


def test_a_run_of_many_steps_succeeds_and_counts_them_all(ended: Body) -> None:
    assert ended["phase"] == "Succeeded", ended["message"]
    assert ended["progress"] == f"{COUNT + 2}/{COUNT + 2}"


def test_every_step_is_recorded_once_in_the_status_or_in_the_journal(ended: Body, journal: list[Body]) -> None:
    latest = ended["steps"]
    assert len(latest) <= 101
    assert sorted(record["name"] for record in [*latest, *journal]) == sorted([*NAMES, "large", "last"])
    assert len(json.dumps(ended)) < 2**18
    outputs = {record["name"]: record.get("output") for record in [*latest, *journal]}
    assert [outputs[name] for name in NAMES] == [{"of": name} for name in NAMES]


def test_a_step_and_the_run_read_what_is_in_the_journal(ended: Body, journal: list[Body]) -> None:
    assert {"s0", "large"} <= {record["name"] for record in journal}
    assert steps_of(ended)["last"]["output"] == {"read": {"of": "s0"}, "large": "Failed"}
    assert (ended["output"]["first"], ended["output"]["middle"]) == ("s0", "s75")


def test_megabytes_are_not_taken_and_said(journal: list[Body]) -> None:
    [large] = [record for record in journal if record["name"] == "large"]
    assert (large["state"], large["reason"]) == ("Failed", "InvalidResult")
    assert "at most 1048576 are taken" in large["message"]
    assert len(json.dumps(large)) < 4096
