"""What a step's expressions read, and the key by which its effect is known."""

import re
from typing import Any

import pytest
from agentruns.core.inputs import Reader, idempotency_key
from agentruns.core.records import StepState, StepStatus
from agentruns.core.resources import AgentRun
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import a_run, seen


def test_a_task_keeps_its_key_when_its_run_is_made_again() -> None:
    one, again = (a_run(metadata={"uid": uid, "name": uid}, idempotencyKey="refund-4711") for uid in ("a", "b"))
    assert idempotency_key(one, "refund") == idempotency_key(again, "refund")


@pytest.mark.parametrize(
    "other",
    [
        a_run(idempotencyKey="refund-4712"),
        a_run(idempotencyKey="refund-4711", metadata={"namespace": "other"}),
        a_run(),
    ],
)
def test_another_task_has_another_key(other: AgentRun) -> None:
    assert idempotency_key(other, "refund") != idempotency_key(a_run(idempotencyKey="refund-4711"), "refund")


def test_without_a_key_of_its_own_every_run_is_a_new_task() -> None:
    one, other = a_run(), a_run(metadata={"uid": "another"})
    assert idempotency_key(one, "refund") != idempotency_key(other, "refund")
    assert idempotency_key(one, "refund") != idempotency_key(one, "lookup")


texts = st.text("a:1-/\\x00é", max_size=4)
tasks = st.tuples(texts, texts.filter(bool), texts)


def key_of(namespace: str, task: str, step: str) -> str:
    return idempotency_key(a_run(metadata={"namespace": namespace}, idempotencyKey=task), step)


@given(tasks, tasks)
def test_two_steps_share_a_key_only_if_namespace_task_and_step_are_the_same(one: Any, other: Any) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)
    assert re.fullmatch("[0-9a-f]{64}", key_of(*one))


@given(texts, texts.filter(bool), texts, texts.filter(bool), texts)
def test_a_key_that_a_person_chose_never_meets_that_of_a_run_without_one(
    namespace: str, task: str, step: str, uid: str, other: str
) -> None:
    for same in (uid, task):
        keyless = a_run(metadata={"namespace": namespace, "uid": same})
        assert idempotency_key(keyless, other) != key_of(namespace, task, step)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b", "c"), ("ab", "", "c")),
        (("a", "b:c", "d"), ("a:b", "c", "d")),
        (("a", "1:b", "c"), ("a1:b", "", "c")),
        (("a", "b", "1:c"), ("a", "b1:", "c")),
        (("shop", "k" * 255, "s"), ("shop", "k" * 254, "ks")),
    ],
)
def test_no_separator_in_a_part_makes_it_another(one: Any, other: Any) -> None:
    assert key_of(*one) != key_of(*other)


def test_a_key_stays_what_it_is_over_releases() -> None:
    keyless = a_run(metadata={"namespace": "shop", "uid": "6d0f6a1c"})
    assert idempotency_key(keyless, "pay") == "54714abcb2c3e33859dfbf54ff63ecfff9299cdb5007c5f48845c9320a0987fd"
    assert key_of("shop", "refund-4711", "pay") == "166d6186df3d07238e1020ee55c2f36af2e82c3da2fc3da0ae8f63a0632ec445"


def test_expressions_read_the_run_and_the_steps_they_name() -> None:
    run = a_run(goal="help", input={"n": 7})
    records = {
        "done": StepStatus(name="done", state=StepState.SUCCEEDED, output={"n": 1}),
        "failed": StepStatus(name="failed", state=StepState.FAILED, output={"n": 2}),
    }
    read = Reader(run, records, seen())
    assert read("run") == {"name": "refund-4711", "namespace": "shop", "goal": "help", "input": {"n": 7}}
    assert read("steps.done") == {"state": "Succeeded", "output": {"n": 1}}
    assert read("steps.failed") == {"state": "Failed", "output": None}
    assert read("steps.later") == {"state": "Pending", "output": None}
