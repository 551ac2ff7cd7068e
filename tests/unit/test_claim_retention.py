"""How long a claim is needed: as long as runs end by it; and a run: as long as no claim stands for it."""

from datetime import timedelta
from typing import Any

import pytest
from agentruns.core.actions import DeleteRun, WriteClaim
from agentruns.core.journal import SEGMENT
from agentruns.core.observed import Refusal
from agentruns.core.questions import ClaimOf, Question, RunNow
from agentruns.core.tasks import Claim, ClaimState, claim_manifest, read_claim

from tests.unit.builders import NAMESPACE, NOW, a_run, a_step, a_tool, later
from tests.unit.play import Play
from tests.unit.test_claims import (
    KEY,
    NAME,
    PAYS,
    another,
    cancelled_having_paid,
    claim,
    done,
    failed_having_paid,
    failed_having_read,
    holder,
    lost,
    stands,
)

DAY = timedelta(days=1)
TTL = 3600
REFUSED = Refusal("denied by somebody's webhook", for_now=False)


def writes(run: Play) -> int:
    """How often the claim of the task was written."""
    return int(run.claims[NAME]["metadata"]["resourceVersion"])


# --------------------------------------------------------------------------------------------- the use of a claim


@pytest.mark.parametrize("end", [done, failed_having_paid, cancelled_having_paid])
def test_a_claim_is_unused_since_the_end_of_its_run_and_one_in_flight_never_is(end: Any) -> None:
    assert claim(end()).unused_for(NOW + 40 * DAY) == 40 * DAY
    in_flight = claim(holder())
    assert in_flight.state is ClaimState.IN_FLIGHT
    for ended in ({}, {"finished_at": NOW}):
        assert in_flight.model_copy(update=ended).unused_for(NOW + 40 * DAY) == timedelta(0)
    assert in_flight.model_copy(update={"state": ClaimState.FAILED}).unused_for(NOW + 40 * DAY) == timedelta(0)


@pytest.mark.parametrize("end", [done, failed_having_paid, cancelled_having_paid])
def test_a_run_that_ends_by_a_claim_has_used_it_before_its_end_is_recorded(end: Any) -> None:
    first = end()
    before = claim(first)
    second = another(first, gone=True)
    second.now = later(DAY.total_seconds())
    decision = second._decided({})
    assert (list(map(type, decision.preparations)), decision.status.phase) == ([WriteClaim], "Running")
    assert second.go().status.reason == f"Already{'Done' if end is done else before.state.value}"
    after = claim(second)
    assert (after.last_used_at, after.unused_for(NOW + 40 * DAY)) == (NOW + DAY, 39 * DAY)
    assert after.says_the_same(before)
    assert (writes(second), second.status.message.count("forgotten")) == (writes(first), 0)


def test_many_runs_that_end_by_a_claim_at_once_write_it_once() -> None:
    first = done()
    written = writes(first)
    for number in range(5):
        second = another(first, name=f"again-{number}")
        assert stands(second.go(3600 + number)) == ("Succeeded", "AlreadyDone")
    assert writes(first) == written + 1


def test_a_run_that_ends_at_once_after_the_one_before_does_not_write_its_claim() -> None:
    first = done()
    written = writes(first)
    assert stands(another(first).go(59)) == ("Succeeded", "AlreadyDone")
    assert writes(first) == written


@pytest.mark.parametrize("change", [{"goal": "another"}, {"desiredState": "Cancelled"}])
def test_a_run_that_does_not_end_by_the_claim_of_its_key_has_used_it_all_the_same(change: dict[str, Any]) -> None:
    """Made again and cancelled for months, it would find its task not done one day."""
    run = another(done(), **change).go(3600)
    assert (run.run.is_final, claim(run).last_used_at) == (True, later(3600))
    assert due(run).actions(DeleteRun)
    assert claim(run).last_used_at == later(3600 + TTL)


def test_a_claim_under_which_nothing_was_done_is_used_by_nobody() -> None:
    first = failed_having_read()
    written = writes(first)
    assert another(first, desiredState="Cancelled").go(3600).run.is_final
    assert writes(first) == written


def test_a_claim_that_is_forgotten_just_before_a_run_would_end_by_it_is_not_believed() -> None:
    second = another(done(), gone=True)
    second.now = later(3600)
    [write] = second._decided({}).preparations
    assert isinstance(write, WriteClaim)
    del second.claims[NAME]
    second._write_claim(write, {})
    assert (second.go().states(), claim(second).run) == ({"look": "Prepared"}, "again")


def test_a_run_whose_use_of_a_claim_cannot_be_noted_ends_all_the_same_and_says_so() -> None:
    second = another(done(), gone=True)
    second.refused["change"] = REFUSED
    assert stands(second.go(3600)) == ("Succeeded", "AlreadyDone")
    assert second.status.message.endswith(
        "it may be forgotten early, since its claim cannot be written: denied by somebody's webhook"
    )


def test_a_claim_that_an_earlier_release_has_written_can_be_read_and_used() -> None:
    body = claim_manifest(NAMESPACE, claim(done()))
    assert "lastUsedAt" not in body["data"]
    found = read_claim(body)
    assert isinstance(found, Claim)
    used = read_claim(claim_manifest(NAMESPACE, found.used(later(5))))
    assert isinstance(used, Claim)
    assert (found.last_used_at, used.last_used_at) == (None, later(5))


# ------------------------------------------------------------------------- a run whose time to live is over


def due(run: Play) -> Play:
    """The same run when its time to live is over."""
    spec = run.run.spec.model_copy(update={"ttl_after_finished": timedelta(seconds=TTL)})
    run.run = run.run.model_copy(update={"spec": spec})
    return run.go(TTL)


def test_a_claim_is_used_before_its_run_is_deleted_so_that_one_made_again_finds_it() -> None:
    run = due(done())
    assert run.actions(DeleteRun)
    assert (claim(run).last_used_at, claim(run).state) == (later(TTL), "Succeeded")
    again = another(run, gone=True)
    again.now = later(TTL)
    assert (stands(again.go()), again.actions(DeleteRun)) == (("Succeeded", "AlreadyDone"), [])


@pytest.mark.parametrize("end", [failed_having_paid, cancelled_having_paid, failed_having_read])
def test_a_run_that_did_not_succeed_is_deleted_where_its_claim_says_what_it_did(end: Any) -> None:
    assert due(end()).actions(DeleteRun)


def long_run() -> Play:
    """A run that has failed having only read, whose first steps are in its journal."""
    reads = [a_step(f"s{n}") | {"tool": "look"} for n in range(2 * SEGMENT + 1)]
    run = Play(a_run(*reads, a_step("pay"), parallelism=1, idempotencyKey=KEY), {**PAYS, "look": a_tool()}).go()
    for step in run.run.spec.steps[:-1]:
        run.succeeds(step.name)
    run.go(1).fails("pay")
    assert (stands(run), bool(run.status.journal)) == (("Failed", "StepFailed"), True)
    return run


def test_a_long_run_that_only_read_is_deleted_where_its_own_claim_says_so() -> None:
    assert due(long_run()).actions(DeleteRun)


def changed(run: Play, /, **data: Any) -> Play:
    """The same run, whose claim says something else now."""
    body = run.claims[NAME]
    run.claims[NAME] = body | {"data": body["data"] | data}
    return run


def removed(run: Play) -> Play:
    """The same run, whose claim was removed."""
    run.claims.clear()
    return run


THEIRS = {"run": "other", "runUid": "other"}
UNDONE = {"state": "Failed", "effects": "None"}


@pytest.mark.parametrize(
    "unkept",
    [
        lambda: removed(done()),
        lambda: removed(failed_having_paid()),
        lambda: changed(done(), state="?"),
        lambda: changed(done(), state="InFlight", **THEIRS),
        lambda: changed(done(), **UNDONE, **THEIRS),
        lambda: changed(failed_having_paid(), **UNDONE, **THEIRS),
        lambda: changed(long_run(), **UNDONE, **THEIRS),
        lambda: removed(another(done(), gone=True).go()),
    ],
)
def test_a_run_for_which_no_claim_stands_outlives_its_time_and_is_looked_at_every_hour(unkept: Any) -> None:
    run = unkept()
    run.pods = {}
    before = run.status
    due(run)
    assert (run.actions(DeleteRun), run.status) == ([], before)
    assert run.decision.wake_at == run.now + timedelta(hours=1)


def test_a_run_is_deleted_once_its_claim_says_again_how_it_has_ended() -> None:
    """An operator that slept through the end may have written something else into it."""
    run = done()
    said = claim(run)
    due(changed(run, state="InFlight", output=""))
    assert run.actions(DeleteRun)
    assert claim(run).says_the_same(said)
    assert stands(another(run, gone=True).go()) == ("Succeeded", "AlreadyDone")


def test_a_run_without_a_task_is_deleted_when_its_time_is_over() -> None:
    assert due(Play(a_run(a_step("look"))).go().succeeds("look")).actions(DeleteRun)


class Gone(Play):
    """A run that somebody deletes just as it is looked at."""

    def _answer(self, question: Question) -> Any:
        return None if isinstance(question, RunNow) else super()._answer(question)


def test_a_run_that_is_gone_meanwhile_mends_no_claim() -> None:
    run = changed(done(), state="InFlight")
    before = dict(run.claims)
    gone = due(Gone(run.run, claims=run.claims))
    assert (gone.actions(DeleteRun), gone.claims) == ([], before)


def test_a_run_whose_claim_cannot_be_written_outlives_its_time() -> None:
    run = done()
    run.refused["change"] = REFUSED
    assert due(run).actions(DeleteRun) == []
    run.refused.clear()
    assert run.go(3600).actions(DeleteRun)


def test_a_run_is_deleted_after_all_when_another_has_done_its_task() -> None:
    run = due(changed(done(), state="InFlight", **THEIRS))
    assert run.actions(DeleteRun) == []
    assert changed(run, state="Succeeded").go(3600).actions(DeleteRun)


@pytest.mark.parametrize(
    "nothing_done",
    [
        lambda: removed(failed_having_read()),
        lambda: another(done(), goal="another").go(),
        lambda: removed(another(failed_having_paid(), gone=True).go()),
        lambda: lost().wants(desiredState="Cancelled"),
    ],
)
def test_a_run_that_has_done_nothing_is_deleted_whatever_its_claim_says(nothing_done: Any) -> None:
    assert due(nothing_done()).actions(DeleteRun)


def test_nobody_asks_for_the_claim_before_the_time_is_over_or_when_a_person_deletes_the_run() -> None:
    run = done()
    spec = run.run.spec.model_copy(update={"ttl_after_finished": timedelta(seconds=TTL)})
    run.run = run.run.model_copy(update={"spec": spec})
    run.go(TTL - 1)
    assert [it for it in run.answers if isinstance(it, ClaimOf)] == []
    deleted = run.run.metadata.model_copy(update={"deletion_timestamp": NOW})
    run.run = run.run.model_copy(update={"metadata": deleted})
    assert run.go(1).actions(DeleteRun) == []
    assert [it for it in run.answers if isinstance(it, ClaimOf)] == []


@pytest.mark.parametrize(("ttl", "stays"), [("1h", True), (None, False)])
def test_a_run_that_stays_says_so_at_its_end(ttl: str | None, stays: bool) -> None:
    run = removed(holder(**({"ttlAfterFinished": ttl} if ttl else {})))
    run.refused["ConfigMap"] = Refusal("exceeded quota", for_now=True)
    run.succeeds("look").succeeds("pay", "R-1")
    assert ("find its outcome, so ttlAfterFinished does not delete it: exceeded quota" in run.status.message) is stays
