"""`status.conditions`: what every phase and reason says, in the shape that kubectl and kstatus read."""

import pytest
from agentruns.core.conditions import STALLING, conditions
from agentruns.core.model import Condition
from agentruns.core.records import FINAL_PHASES, Phase, RunStatus, WaitingFor

from tests.unit.builders import NOW, later

ASKS = (WaitingFor(kind="Approval", name="a", step="s"),)


def of(status: RunStatus) -> dict[str, Condition]:
    """The conditions of a status, by type."""
    return {it.type: it for it in conditions(status, 3, NOW)}


def a_status(phase: Phase, reason: str = "Because", waiting_for: tuple[WaitingFor, ...] = ()) -> RunStatus:
    """A status in this phase."""
    return RunStatus(phase=phase, reason=reason, message="a sentence", waiting_for=waiting_for)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_the_five_conditions(phase: Phase) -> None:
    found = of(a_status(phase))
    assert set(found) == {"Finished", "Succeeded", "AwaitingApproval", "Reconciling", "Stalled"}
    assert all(it.reason and it.observed_generation == 3 for it in found.values())


@pytest.mark.parametrize("phase", Phase)
def test_finished_is_true_in_every_final_phase_and_in_no_other(phase: Phase) -> None:
    found = of(a_status(phase))
    final = phase in FINAL_PHASES
    assert (found["Finished"].status, found["Finished"].reason) == (
        ("True", phase.value) if final else ("False", "InProgress")
    )
    assert found["Reconciling"].status == ("False" if final else "True")


@pytest.mark.parametrize(
    ("phase", "status", "reason"),
    [
        (Phase.SUCCEEDED, "True", "Because"),
        (Phase.FAILED, "False", "Because"),
        (Phase.CANCELLED, "False", "Because"),
        (Phase.RUNNING, "Unknown", "InProgress"),
        (Phase.PAUSED, "Unknown", "InProgress"),
    ],
)
def test_succeeded_does_not_pretend(phase: Phase, status: str, reason: str) -> None:
    found = of(a_status(phase))["Succeeded"]
    assert (found.status, found.reason, found.message) == (status, reason, "a sentence")


def test_awaiting_approval_says_whether_a_person_is_asked() -> None:
    asked = of(a_status(Phase.RUNNING, waiting_for=ASKS))["AwaitingApproval"]
    assert (asked.status, asked.reason, asked.message) == ("True", "StepAwaitsApproval", "a sentence")
    doubted = of(a_status(Phase.AWAITING_APPROVAL, "StepInDoubt", ASKS))["AwaitingApproval"]
    assert doubted.reason == "StepInDoubt"
    assert of(a_status(Phase.RUNNING))["AwaitingApproval"].reason == "NotWaiting"


@pytest.mark.parametrize("reason", sorted(STALLING))
def test_stalled_names_what_does_not_move_by_itself(reason: str) -> None:
    found = of(a_status(Phase.PENDING, reason))
    assert (found["Stalled"].status, found["Stalled"].reason, found["Stalled"].message) == (
        "True",
        reason,
        "a sentence",
    )
    assert found["Reconciling"].status == "False", "kstatus reads whichever stands first"


def test_a_failure_is_stalled_and_a_run_under_way_is_not() -> None:
    assert of(a_status(Phase.FAILED))["Stalled"].message == "a sentence"
    assert of(a_status(Phase.RUNNING))["Stalled"].status == "False"
    assert of(a_status(Phase.CANCELLED))["Stalled"].status == "False"


def test_a_time_moves_only_when_its_status_does() -> None:
    before = a_status(Phase.RUNNING)
    before = before.model_copy(update={"conditions": conditions(before, 1, NOW)})
    later_on = {it.type: it for it in conditions(before.model_copy(update={"reason": "Other"}), 2, later(60))}
    assert {it.last_transition_time for it in later_on.values()} == {NOW}
    assert later_on["Reconciling"].reason == "Other"
    ended = {it.type: it for it in conditions(before.model_copy(update={"phase": Phase.FAILED}), 2, later(60))}
    assert ended["Finished"].last_transition_time == later(60)
    assert ended["AwaitingApproval"].last_transition_time == NOW
