"""What a step's expressions read, and the key by which its effect is known."""

import pytest
from agentruns.core.inputs import Reader, idempotency_key
from agentruns.core.resources import AgentRun, StepState, StepStatus

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
