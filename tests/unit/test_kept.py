"""Runs that earlier versions have left in mid-course: today's code reads them, and goes on to their end."""

import json
from pathlib import Path
from typing import Any

import pytest
from agentruns.core.digests import digest, digest_of
from agentruns.core.naming import JOURNAL_KEY, LABEL_TASK
from agentruns.core.records import Phase, RunStatus
from agentruns.store import Store

from tests.unit.kept import FIXTURES
from tests.unit.play import Play


def kept(path: Path) -> Play:
    """What a file has, taken in as the operator does when it starts; none of its Tools is there any more."""
    store, stored = Store(lambda _: None, lambda _: None), dict[str, dict[str, Any]]()
    claims = dict[str, dict[str, Any]]()
    items = json.loads(path.read_text())["items"]
    for it in items:
        if it["kind"] in ("AgentRun", "Approval", "Pod"):
            store.take(it["kind"], it)
        elif LABEL_TASK in it["metadata"].get("labels", {}):
            claims[it["metadata"]["name"]] = it
        else:
            stored[it["metadata"]["name"]] = it
    [run] = store.runs.values()
    uid = run.metadata.uid
    play = Play(run, pods=store.pods(uid), approvals=store.approvals(uid), stored=stored, claims=claims)
    times = [it for step in run.status.steps for it in (step.started_at, step.finished_at) if it]
    play.now = max([*times, play.now])
    return play


def files(name: str) -> list[Any]:
    """The file of this name of every version."""
    found = sorted(FIXTURES.glob(f"*-{name}.json"))
    assert found
    return [pytest.param(path, id=path.stem) for path in found]


EVERY = files("*")


@pytest.mark.parametrize("path", EVERY)
def test_reading_loses_nothing_and_changes_nothing(path: Path) -> None:
    run = kept(path)
    [stored] = [it["status"] for it in json.loads(path.read_text())["items"] if it["kind"] == "AgentRun"]
    assert RunStatus.model_validate(stored).body() == stored
    before = run.status
    assert run.go().status == before
    assert run.done == []


@pytest.mark.parametrize("path", EVERY)
def test_what_was_stored_beside_the_run_has_the_digests_by_which_it_is_known(path: Path) -> None:
    run = kept(path)
    pins, segments = run.status.tools, run.status.journal
    refs = [it.output_ref for it in run.status.steps if it.output_ref]
    texts = [(it.name, it.key, it.digest) for it in refs] + [(it.name, JOURNAL_KEY, it.digest) for it in segments]
    assert {pin.revision for pin in pins} | {name for name, _, _ in texts} == set(run.stored)
    assert run.stored or run.claims
    assert [digest(run.stored[it.revision]["data"]) for it in pins] == [it.digest for it in pins]
    for name, key, known in texts:
        assert digest_of(run.stored[name]["data"][key].encode()) == known


@pytest.mark.parametrize("path", files("waiting"))
def test_one_that_waits_for_a_person_goes_on_from_the_answer(path: Path) -> None:
    run = kept(path)
    asked = run.step("refund").approval
    run.decides("refund", "Approve")
    assert (run.step("refund").approval, run.states()["refund"]) == (asked, "Prepared"), "it is not asked anew"
    run.succeeds("refund", {"receipt": "R-99"}).succeeds("note")
    assert (run.status.phase, run.status.output) == (Phase.SUCCEEDED, {"receipt": "R-99", "order": "4711"})


@pytest.mark.parametrize("path", files("running"))
def test_one_that_runs_goes_on_from_the_result_of_its_pod(path: Path) -> None:
    run = kept(path)
    pod = run.step("refund").pod_uid
    run.says("refund", {"receipt": "R-99"}).ends("refund").go()
    assert (run.step("refund").pod_uid, run.states()["refund"]) == (pod, "Succeeded")
    assert run.succeeds("note").status.output == {"receipt": "R-99", "order": "4711"}


@pytest.mark.parametrize("path", files("running"))
def test_one_whose_result_is_lost_is_in_doubt_and_may_run_again_under_the_same_key(path: Path) -> None:
    run = kept(path)
    key = run.step("refund").idempotency_key
    run.ends("refund", 137).go()
    assert run.states()["refund"] == "InDoubt"
    run.decides("refund", "RunAgain")
    assert (run.step("refund").idempotency_key, run.states()["refund"]) == (key, "Prepared")


@pytest.mark.parametrize("path", files("journal"))
def test_one_with_a_journal_reads_there_what_it_needs(path: Path) -> None:
    run = kept(path)
    assert "s0" not in run.states()
    run.says("refund", {"receipt": "R-99"}).ends("refund").go().succeeds("note")
    assert (run.status.phase, run.status.output) == (Phase.SUCCEEDED, {"first": "s0", "receipt": "R-99"})
    assert run.status.progress == "103/103"


@pytest.mark.parametrize("path", files("settling"))
@pytest.mark.parametrize(("found", "state"), [(True, "Succeeded"), (False, "Waiting")])
def test_one_whose_doubt_is_being_settled_goes_on_from_the_answer(path: Path, found: bool, state: str) -> None:
    run = kept(path)
    call = run.step("refund-settle").pod_uid
    run.says("refund-settle", {"found": found, "receipt": "R-99"}).ends("refund-settle").go()
    assert (run.step("refund-settle").pod_uid, run.states()["refund"]) == (call, state)
    assert len(run.approvals) == 1, "nobody is asked about what was settled"


@pytest.mark.parametrize("path", files("task-in-doubt"))
def test_one_whose_task_is_in_doubt_goes_on_from_the_answer(path: Path) -> None:
    run = kept(path)
    [asked] = run.approvals
    run.decides("", "Happened", output={"receipt": "R-99"})
    assert ([*run.approvals], run.status.reason, run.status.output) == ([asked], "AlreadyDone", {"receipt": "R-99"})
    again = kept(path).decides("", "RunAgain")
    assert ([*again.approvals], again.states()) == ([asked], {"lookup": "Prepared"})
