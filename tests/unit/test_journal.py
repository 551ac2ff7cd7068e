"""What happened in steps that ended long ago is in the journal, and everything that reads of them reads it there."""

import json
from copy import copy
from dataclasses import fields, replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from agentruns.core.actions import Create, DeletePod, ReleasePod
from agentruns.core.digests import digest_of
from agentruns.core.journal import LEAST, SEGMENT, Journal, records_in
from agentruns.core.lifecycle import decide
from agentruns.core.observed import Refusal
from agentruns.core.outputs import INLINE
from agentruns.core.questions import JournalSegment, Lost
from agentruns.core.records import Phase, Segment, StepState, StepStatus
from agentruns.core.starting import RETRY_REFUSED

from tests.unit.builders import a_pod, a_run, a_step
from tests.unit.play import Play, recorded

KEPT = 2 * SEGMENT
"""Finished steps that a status has before the oldest go into the journal."""
LAST = f"s{KEPT + 2}"
BIG = "x" * (INLINE + 1)


@cache
def _a_hundred(large: str | None) -> Play:
    steps: list[dict[str, Any]] = [a_step(f"s{n}") | {"tool": "tool", "onFailure": "Continue"} for n in range(KEPT + 2)]
    steps.append(a_step(LAST, needs=["s0"], args={"x": "${steps.s0.output}"}, approval="Always"))
    output = {"first": "${steps.s0.output}", "state": "${steps.s1.state}"}
    run = Play(a_run(*steps, order="Graph", parallelism=20, output=output)).go()
    for batch in range(0, KEPT, 20):
        run.now += timedelta(seconds=1)
        for name in (f"s{n}" for n in range(batch, batch + 20)):
            if name == "s0" and large is None:
                run.starts(name).ends(name, 65)
            else:
                run.starts(name).says(name, {"of": name, "more": large if name == "s0" else ""}).ends(name)
        run.go()
    return run


def a_hundred(large: str | None = "") -> Play:
    """A run of 103 steps: a hundred have ended, the first with this output or badly; the last asks, and reads it."""
    run = copy(_a_hundred(large))
    for field in fields(run):
        if isinstance(value := getattr(run, field.name, None), dict | list):
            setattr(run, field.name, copy(value))
    return run


def folded(large: str | None = "") -> Play:
    """The same run with one step more that has ended, so that half of them are in the journal."""
    return a_hundred(large).go(1).succeeds(f"s{KEPT}", {"of": f"s{KEPT}"})


def content(run: Play, place: int = 0) -> dict[str, Any]:
    """What is written in a segment of the journal."""
    manifest = run.manifests[run.status.journal[place].name]
    return dict(json.loads(manifest["data"]["journal.json"]))


# ------------------------------------------------------------------------------------ what is written there


def test_the_oldest_records_go_into_the_journal_as_they_stood() -> None:
    before = a_hundred().status
    assert (len(before.steps), before.journal) == (KEPT + 3, ())
    run = folded()
    [segment] = run.status.journal
    assert (segment.steps, segment.done) == ("1-50", SEGMENT)
    assert segment.digest == digest_of(run.manifests[segment.name]["data"]["journal.json"].encode())
    assert content(run)["steps"] == before.body()["steps"][:SEGMENT]
    assert [it.name for it in run.status.steps] == [f"s{n}" for n in range(SEGMENT, KEPT + 3)]
    assert run.status.progress == f"{KEPT + 1}/{KEPT + 3}"
    assert (before.format_version, run.status.format_version) == (1, 2), "a release without journals leaves it alone"


def test_a_segment_is_an_immutable_config_map_of_the_run() -> None:
    run = folded()
    [segment] = run.status.journal
    manifest = run.manifests[segment.name]
    assert (manifest["kind"], manifest["immutable"]) == ("ConfigMap", True)
    assert segment.name == f"refund-4711-journal-{segment.digest[7:23]}"
    assert manifest["metadata"]["ownerReferences"][0]["uid"] == run.run.metadata.uid
    assert manifest["metadata"]["labels"] == {
        "agentrun.dev/run-uid": run.run.metadata.uid,
        "app.kubernetes.io/managed-by": "agentruns",
    }


def test_few_large_records_go_earlier_and_each_segment_names_the_one_before() -> None:
    count = 3 * LEAST
    run = Play(a_run(*(a_step(f"s{n}") | {"tool": "tool"} for n in range(count + 1)), order="Graph")).go()
    for batch in range(0, count, 5):
        for name in (f"s{n}" for n in range(batch, batch + 5)):
            run.starts(name).says(name, "x" * (INLINE - 2)).ends(name)
        run.go(1)
    assert all(it.output_ref is None for it in run.status.steps), "there was room for all of them"
    first, second = run.status.journal
    assert (first.steps, second.steps) == (f"1-{LEAST}", f"{LEAST + 1}-{2 * LEAST}")
    assert (content(run)["previous"], content(run, 1)["previous"]) == ("", first.digest)
    text = run.manifests[second.name]["data"]["journal.json"]
    assert len(records_in(text, JournalSegment(second, first.digest))) == LEAST
    for changed, previous in ((text.replace("s25", "s26", 1), first.digest), (text, second.digest)):
        with pytest.raises(LookupError, match=f"ConfigMap {second.name} is not what was stored"):
            records_in(changed, JournalSegment(second, previous))


def test_steps_that_ended_later_stay_whatever_their_place() -> None:
    run = a_hundred()
    late = {"finished_at": run.now + timedelta(seconds=1)}
    moved = [it.model_copy(update=late) if it.name in ("s1", "s3", "s4") else it for it in run.status.steps]
    run.run = recorded(run.run, run.status.model_copy(update={"steps": tuple(moved)}))
    run.go(2).succeeds(f"s{KEPT}")
    assert run.status.journal[0].steps == "1,3,6-53"
    journal = Journal(run.run, run.status.journal)
    assert {record["name"] for record in content(run)["steps"]} == {
        it.name for it in run.run.spec.steps if it.name in journal
    }


@pytest.mark.parametrize(
    ("ranges", "places"), [("1", [1]), ("1-3", [1, 2, 3]), ("2,4-5,7", [2, 4, 5, 7]), ("3,5", [3, 5])]
)
def test_places_are_read_as_they_are_said(ranges: str, places: list[int]) -> None:
    run = a_run(*(a_step(f"s{n}") for n in range(1, 9)))
    journal = Journal(run, (Segment(name="j", digest="d", steps=ranges, done=0),))
    assert [place for place in range(1, 9) if f"s{place}" in journal] == places
    assert journal.length == len(places)


def with_a_call(state: StepState) -> Play:
    """The run that is about to have a journal, whose first step was in doubt and has a call that settled it."""
    run = a_hundred()
    call = StepStatus(name="s0-settle", state=state, reason="NotNeeded", pod="p", pod_uid="p", finished_at=run.now)
    first, *others = run.status.steps
    run.run = recorded(run.run, run.status.model_copy(update={"steps": (first, call, *others)}))
    return run


def test_the_call_that_settled_a_step_goes_with_it() -> None:
    run = with_a_call(StepState.CANCELLED).succeeds(f"s{KEPT}")
    assert [record["name"] for record in content(run)["steps"]][:3] == ["s0", "s0-settle", "s1"]
    assert (run.status.journal[0].steps, run.status.journal[0].done) == ("1-50", SEGMENT)
    assert "s0-settle" not in run.states()
    assert run.status.progress == f"{KEPT + 1}/{KEPT + 3}"


def test_a_record_waits_for_the_pod_of_its_call_too() -> None:
    run = with_a_call(StepState.CANCELLED)
    run.pods["p"] = a_pod(uid="p", name="p", step="s0-settle", finalizers=())
    assert run.succeeds(f"s{KEPT}").status.journal == ()


def test_a_record_waits_for_its_pod_to_end() -> None:
    run = a_hundred()
    first = run.step("s0").pod_uid
    ended = run.pods[first]
    run.pods[first] = replace(ended, end=None, phase="Running")
    run.succeeds(f"s{KEPT}")
    assert run.status.journal == (), "when its pod is to be stopped is read from the record"
    run.pods[first] = ended
    assert run.go().status.journal[0].steps == "1-50"


# ---------------------------------------------------------------------------------------- what reads it


@pytest.mark.parametrize("large", ["", BIG])
def test_what_reads_a_step_in_the_journal_reads_what_it_did(large: str) -> None:
    run = folded(large).decides(LAST, "Approve")
    assert f'"x":{{"more":"{large}","of":"s0"}}' in run.input_of(LAST)
    run.succeeds(f"s{KEPT + 1}").succeeds(LAST)
    assert (run.status.phase, run.status.reason) == (Phase.SUCCEEDED, "Completed")
    assert run.status.output == {"first": {"of": "s0", "more": large}, "state": "Succeeded"}
    assert run.status.progress == f"{KEPT + 3}/{KEPT + 3}"


def test_a_step_begins_when_what_it_needs_is_in_the_journal() -> None:
    run = folded()
    without = tuple(it for it in run.status.steps if it.name != LAST)
    run.run = run.run.model_copy(update={"status": run.status.model_copy(update={"steps": without})})
    assert run.go().step(LAST).state is StepState.AWAITING_APPROVAL


def test_the_end_of_a_run_names_what_the_journal_says() -> None:
    run = folded(large=None)
    assert "s0" in Journal(run.run, run.status.journal)
    assert run.status.progress == f"{KEPT + 1}/{KEPT + 3}", "its failure is let pass"
    cancelled = folded(large=None).wants(desiredState="Cancelled").status
    assert "done before: s1, s2, s3, s4, s5, s6, s7, s8, s9, s10 and 90 more" in cancelled.message
    run.succeeds(f"s{KEPT + 1}").decides(LAST, "Approve").succeeds(LAST)
    assert run.status.message == "all steps have ended; failed, which the run lets pass: s0"


def test_nothing_is_asked_of_the_journal_as_long_as_nothing_reads_it() -> None:
    assert not [it for it in folded().answers if isinstance(it, JournalSegment)]


def test_a_pod_of_a_step_in_the_journal_does_not_wait_to_begin() -> None:
    run = folded()
    run.pods["stale"] = a_pod(uid="stale", step="s0", gated=True, started_at=None, node="")
    run.go()
    assert [it.uid for it in run.actions(DeletePod)] == ["stale"]


# ------------------------------------------------------------------------------------ when it is not there


def lost() -> Play:
    """The run whose first segment has gone since."""
    run = folded()
    [segment] = run.status.journal
    run.answers[JournalSegment(segment, "")] = Lost(f"ConfigMap {segment.name} is gone")
    return run


def test_a_step_that_reads_a_lost_journal_ends_its_run() -> None:
    run = lost().succeeds(f"s{KEPT + 1}").decides(LAST, "Approve")
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "StateLost")
    assert f"the record of step s0 is lost: ConfigMap {run.status.journal[0].name} is gone" in run.status.message


def test_a_run_whose_journal_is_lost_does_not_pass_for_done() -> None:
    run = folded().succeeds(f"s{KEPT + 1}").decides(LAST, "Approve")
    run.answers |= lost().answers
    run.succeeds(LAST)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "StateLost")
    assert "is gone; of the latest steps: done before: s50, s51" in run.status.message


def test_a_run_whose_journal_is_lost_can_be_cancelled() -> None:
    run = lost().wants(desiredState="Cancelled")
    assert (run.status.phase, run.status.reason) == (Phase.CANCELLED, "CancelledByUser")
    assert "is gone; of the latest steps: done before: s50" in run.status.message


# ------------------------------------------------------------------------------------ how it gets there


def test_records_leave_the_status_only_once_they_are_stored_and_a_crash_between_changes_nothing() -> None:
    run = folded()
    [segment] = run.status.journal
    run.run = run.run.model_copy(update={"status": [it for it in run.recorded if not it.journal][-1]})
    crashed = replace(run, stored={name: it for name, it in run.stored.items() if name != segment.name})
    found = decide(crashed.run, crashed.look())
    assert [it.name for it in found.preparations if isinstance(it, Create)] == [segment.name]
    assert (found.status.journal, len(found.status.steps)) == ((), KEPT + 3)
    assert decide(run.run, run.look()).status.journal == (segment,)
    assert decide(run.run, run.look()).preparations == ()


def test_a_record_stays_until_its_pod_is_let_go_of() -> None:
    run = folded()
    run.run = run.run.model_copy(update={"status": [it for it in run.recorded if not it.journal][-1]})
    first = run.step("s0").pod_uid
    run.pods[first] = replace(run.pods[first], finalizers=("agentrun.dev/result",))
    found = decide(run.run, run.look())
    assert (found.status.journal, [it.uid for it in found.actions if isinstance(it, ReleasePod)]) == ((), [first])


@pytest.mark.parametrize("for_now", [True, False])
def test_a_run_goes_on_while_its_journal_is_refused_and_says_so(for_now: bool) -> None:
    run = a_hundred()
    run.refused["ConfigMap"] = Refusal("exceeded quota: objects", for_now=for_now)
    run.succeeds(f"s{KEPT}")
    assert (run.status.journal, len(run.status.steps)) == ((), KEPT + 3)
    assert (run.status.phase, run.status.reason) == (Phase.RUNNING, "CreationRefused")
    assert run.status.message == "exceeded quota: objects"
    assert run.decision.wake_at == run.now + RETRY_REFUSED
    assert run.succeeds(f"s{KEPT + 1}").step(f"s{KEPT + 1}").state is StepState.SUCCEEDED
    run.refused.clear()
    assert run.go(10).status.journal != ()


def test_a_run_whose_journal_is_refused_can_be_cancelled() -> None:
    run = a_hundred()
    run.refused["ConfigMap"] = Refusal("exceeded quota: objects", for_now=True)
    run.succeeds(f"s{KEPT}").wants(desiredState="Cancelled")
    assert (run.status.phase, run.status.reason) == (Phase.CANCELLED, "CancelledByUser")
