"""The store: never back in time, nothing kept of what is gone, and every run told that a change concerns it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from agentruns.core.checks import check_tool
from agentruns.core.naming import gone_run, key_of_pods
from agentruns.core.problems import Problem
from agentruns.core.resources import OversizedRun, OversizedToolSpec
from agentruns.store import Store
from agentruns.trimming import MAX_SPEC, MAX_VALUES

from tests.unit.builders import IMAGE, NAMESPACE, NOW, RUN_UID, a_result

RUN = (NAMESPACE, "run")
HELD = {"name": "a", "state": "Running", "podUID": "uid-of-pod"}


def body(kind: str, name: str, version: int, *, uid: str = "", **fields: Any) -> dict[str, Any]:
    """An object as the API server sends it."""
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": uid or f"uid-of-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": NOW.isoformat(),
        **fields.pop("metadata", {}),
    }
    return {"kind": kind, "metadata": metadata, **fields}


def a_run(version: int = 1, *, name: str = "run", uid: str = RUN_UID, **status: Any) -> dict[str, Any]:
    """A run of one step."""
    return body("AgentRun", name, version, uid=uid, spec={"steps": [{"name": "a", "tool": "a"}]}, status=status)


def a_pod(version: int = 1, *, name: str = "pod", run: str = RUN_UID, phase: str = "Running") -> dict[str, Any]:
    """A pod of a run."""
    labels = {"agentrun.dev/run-uid": run}
    return body("Pod", name, version, metadata={"labels": labels}, status={"phase": phase})


def an_approval(version: int = 1, *, run: str = RUN_UID) -> dict[str, Any]:
    """A question of a run."""
    spec = {"step": "a", "tool": "a", "purpose": "Effect", "digest": "d", "request": {"summary": "s"}}
    return body("Approval", "ask", version, spec=spec | {"runRef": {"name": "run", "uid": run}})


def a_tool(version: int = 1, *, description: str = "d") -> dict[str, Any]:
    """A Tool."""
    return body("Tool", "a", version, spec={"description": description, "image": IMAGE})


class Seen:
    """A store, and the keys it told of."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.tools: list[tuple[str, str]] = []
        self.store = Store(self.told.append, self.tools.append)

    def take(self, *bodies: dict[str, Any], gone: bool = False) -> "Seen":
        """The same after these were seen, with nothing told so far."""
        for it in bodies:
            self.store.take(it["kind"], it, gone=gone)
        self.told.clear()
        self.tools.clear()
        return self


@pytest.fixture
def world() -> Seen:
    """A store with a run, a pod of it and a question of it."""
    return Seen().take(a_run(10, steps=[HELD]), a_pod(10), an_approval(10))


def test_what_was_seen_can_be_read(world: Seen) -> None:
    assert world.store.runs[RUN].metadata.uid == RUN_UID
    assert list(world.store.pods(RUN_UID)) == ["uid-of-pod"]
    assert list(world.store.approvals(RUN_UID)) == ["ask"]
    assert [it.metadata.name for it in world.store.all_approvals()] == ["ask"]
    assert world.store.pods("another") == {}
    assert world.store.approvals("another") == {}


@pytest.mark.parametrize("version", [9, 10])
def test_it_never_goes_back(world: Seen, version: int) -> None:
    world.store.take("Pod", a_pod(version, phase="Pending"))
    assert world.store.pods(RUN_UID)["uid-of-pod"].phase == "Running"
    assert world.told == []


def test_versions_are_numbers() -> None:
    world = Seen().take(a_pod(9), a_pod(10, phase="Succeeded"))
    assert world.store.pods(RUN_UID)["uid-of-pod"].phase == "Succeeded"


def test_a_deletion_of_the_version_that_is_known_counts_and_an_older_one_does_not(world: Seen) -> None:
    world.store.take("Pod", a_pod(9), gone=True)
    assert world.store.pods(RUN_UID)
    world.store.take("Pod", a_pod(10), gone=True)
    assert world.store.pods(RUN_UID) == {}
    assert world.told == [RUN]


def test_a_report_of_a_pod_from_which_nothing_follows_tells_nobody(world: Seen) -> None:
    world.store.take("Pod", a_pod(11))
    assert (world.told, world.store.pods(RUN_UID)["uid-of-pod"].resource_version) == ([], "11")


def test_every_change_tells_its_run(world: Seen) -> None:
    world.store.take("Pod", a_pod(11, phase="Succeeded"))
    world.store.take("Approval", an_approval(11))
    world.store.take("AgentRun", a_run(11, steps=[HELD]))
    world.store.take_result(NAMESPACE, RUN_UID, "uid-of-pod", a_result(1))
    assert world.told == [RUN] * 4


def test_what_belongs_to_no_run_is_told_under_the_uid_it_names(world: Seen) -> None:
    world.store.take("Pod", a_pod(name="orphan", run="gone"))
    assert world.told == [key_of_pods(NAMESPACE, "gone")]
    assert gone_run(world.told[0]) == "gone"


def test_a_run_that_is_named_like_the_uid_of_another_does_not_stand_in_for_its_pods(world: Seen) -> None:
    world.take(a_pod(name="orphan", run="6d0f"), a_run(name="6d0f", uid="another"))
    world.store.take("Pod", a_pod(2, name="orphan", run="6d0f", phase="Succeeded"))
    [key] = world.told
    assert key not in world.store.runs
    world.store.take("AgentRun", a_run(2, name="6d0f", uid="another"))
    assert gone_run(world.told[-1]) is None


def test_a_run_that_is_gone_is_told_and_forgotten(world: Seen) -> None:
    world.store.take("AgentRun", a_run(11), gone=True)
    assert world.store.runs == {}
    assert world.told == [key_of_pods(NAMESPACE, RUN_UID), RUN], "its pods are looked at by themselves from now on"
    world.store.take("AgentRun", a_run(11), gone=True)
    assert world.store.runs == {}


def test_a_run_made_again_under_its_name_stays_when_the_old_one_goes(world: Seen) -> None:
    world.take(a_run(20, uid="second"))
    world.store.take("AgentRun", a_run(21), gone=True)
    assert world.store.runs[RUN].metadata.uid == "second"
    assert world.store.pods("second") == {}


@pytest.mark.parametrize("kind", ["AgentRun", "Tool"])
def test_of_two_objects_of_a_name_the_later_one_stays_in_whatever_order_they_are_told(kind: str) -> None:
    """Each has a stream of its own, so that the first may come to its end there when the second is long known."""
    old, new = (a_run(1), a_run(5)) if kind == "AgentRun" else (a_tool(1), a_tool(5))
    new["metadata"]["uid"] = "second"
    for told in ([old, new], [new, old]):
        world = Seen()
        for it in told:
            world.take(it)
        world.store.take(kind, old | {"metadata": old["metadata"] | {"resourceVersion": "3"}}, gone=True)
        world.take(old | {"metadata": old["metadata"] | {"resourceVersion": "2"}})
        there = world.store.runs.get(RUN) or world.store.tools[NAMESPACE, "a"]
        assert there.metadata.uid == "second"
        assert list(world.store._known) == ["second"]


@pytest.mark.parametrize(("namespace", "left"), [(None, set()), (NAMESPACE, set()), ("other", {"uid-of-pod"})])
def test_a_listing_replaces_what_was_known_of_its_kind_and_place(
    world: Seen, namespace: str | None, left: set[str]
) -> None:
    world.store.take_list("Pod", namespace, set(), 20)
    assert set(world.store.pods(RUN_UID)) == left
    assert world.store.runs
    assert world.store.approvals(RUN_UID)


def test_a_listing_says_nothing_of_what_is_newer_than_itself(world: Seen) -> None:
    world.take(a_pod(8, name="older"))
    world.store.take_list("Pod", None, set(), 9)
    assert set(world.store.pods(RUN_UID)) == {"uid-of-pod"}


@pytest.mark.parametrize("kind", ["AgentRun", "Pod", "Approval", "Tool", "NetworkPolicy"])
def test_anything_can_be_forgotten_by_its_uid(kind: str) -> None:
    bodies = {
        "AgentRun": a_run(),
        "Pod": a_pod(),
        "Approval": an_approval(),
        "Tool": a_tool(),
        "NetworkPolicy": body("NetworkPolicy", "p", 1),
    }
    world = Seen().take(bodies[kind])
    world.store.forget(bodies[kind]["metadata"]["uid"])
    world.store.forget("unknown")
    store = world.store
    assert (store.runs, store.pods(RUN_UID), store.approvals(RUN_UID)) == ({}, {}, {})
    assert (store.tools_named(NAMESPACE, ["a"]), store.names("NetworkPolicy", NAMESPACE)) == ({}, frozenset())


def test_tools_are_found_by_name_in_their_namespace() -> None:
    store = Seen().take(a_tool()).store
    assert set(store.tools_named(NAMESPACE, ["a", "b"])) == {"a"}
    assert store.tools_named("other", ["a"]) == {}


def test_with_a_tool_comes_the_one_that_settles_its_doubts_and_a_change_of_that_is_told_to_it() -> None:
    settle = {"tool": "find", "happened": "result.found"}
    pay = body("Tool", "pay", 1, spec={"description": "d", "image": IMAGE, "settle": settle})
    world = Seen().take(pay)
    assert set(world.store.tools_named(NAMESPACE, ["pay"])) == {"pay"}
    world.tools.clear()
    world.store.take("Tool", body("Tool", "find", 2, spec={"description": "d", "image": IMAGE}))
    assert set(world.store.tools_named(NAMESPACE, ["pay"])) == {"pay", "find"}
    assert world.tools == [(NAMESPACE, "find"), (NAMESPACE, "pay")]
    elsewhere = body("Tool", "find", 3, uid="else", spec={"description": "d", "image": IMAGE})
    world.store.take("Tool", elsewhere | {"metadata": elsewhere["metadata"] | {"namespace": "other"}})
    assert world.tools[2:] == [("other", "find")]


def test_a_new_tool_wakes_the_runs_that_have_not_begun() -> None:
    begun = a_run(name="begun", uid="begun", startedAt=NOW.isoformat())
    world = Seen().take(a_run(), begun)
    world.store.take("Tool", a_tool())
    assert world.told == [RUN]
    assert world.tools == [(NAMESPACE, "a")]


def test_of_policies_and_revisions_only_the_names_are_known(world: Seen) -> None:
    world.take(
        body("NetworkPolicy", "deny", 1), body("ControllerRevision", "a-1", 1), body("ControllerRevision", "a-2", 1)
    )
    assert world.store.names("NetworkPolicy", NAMESPACE) == {"deny"}
    assert world.store.names("ControllerRevision", NAMESPACE) == {"a-1", "a-2"}
    assert world.store.names("ControllerRevision", "other") == frozenset()


@pytest.mark.parametrize("kind", ["NetworkPolicy", "ControllerRevision", "Approval", "Tool"])
def test_what_was_made_again_under_its_name_stays_when_the_old_one_goes_late(kind: str) -> None:
    old, new = {"Approval": (an_approval(1), an_approval(2)), "Tool": (a_tool(1), a_tool(2))}.get(
        kind, (body(kind, "x", 1), body(kind, "x", 2))
    )
    new["metadata"]["uid"] = "second"
    world = Seen().take(old, new)
    world.store.take(kind, old | {"metadata": old["metadata"] | {"resourceVersion": "3"}}, gone=True)
    store = world.store
    assert store.names(kind, NAMESPACE) or store.approvals(RUN_UID) or store.tools


def test_the_first_result_of_a_pod_counts_until_it_is_recorded(world: Seen) -> None:
    pod = "uid-of-pod"
    world.store.take_result(NAMESPACE, RUN_UID, pod, a_result(1))
    world.store.take_result(NAMESPACE, RUN_UID, pod, a_result(2))
    assert world.store.results([pod, "q"]) == {pod: a_result(1)}
    world.store.forget_results([pod, "q"])
    assert world.store.results([pod]) == {}


def test_no_result_is_kept_of_what_is_gone(world: Seen) -> None:
    world.store.take_result(NAMESPACE, RUN_UID, "gone", a_result(1))
    assert world.store.results(["gone"]) == {}
    world.store.take_result(NAMESPACE, RUN_UID, "uid-of-pod", a_result(1))
    world.store.take("Pod", a_pod(10), gone=True)
    world.store.take("AgentRun", a_run(11), gone=True)
    assert world.store.results(["uid-of-pod"]) == {}


def test_a_result_that_comes_after_it_was_recorded_is_not_kept(world: Seen) -> None:
    for version, ended in enumerate(
        (a_run(11, steps=[HELD | {"state": "Succeeded"}]), a_run(12, phase="Failed", steps=[HELD]))
    ):
        world.take(ended)
        world.store.take_result(NAMESPACE, RUN_UID, "uid-of-pod", a_result(version))
        assert world.store.results(["uid-of-pod"]) == {}


def test_of_a_run_that_is_over_nothing_is_kept_that_no_decision_needs(world: Seen) -> None:
    spec = {"steps": [{"name": "a", "tool": "a"}], "input": {"x": 1}, "ttlAfterFinished": "1h", "idempotencyKey": "k"}
    done = a_run(11, phase="Succeeded") | {"spec": spec}
    done["metadata"]["generation"] = 2
    world.take(done)
    kept = world.store.runs[RUN].spec
    assert (kept.steps, kept.input, kept.ttl_after_finished) == ((), {}, timedelta(hours=1))


@pytest.mark.parametrize(("observed", "kept"), [(0, None), (-1, {"x": 1})])
def test_the_outputs_of_a_finished_run_are_kept_only_where_they_are_written_again(observed: int, kept: Any) -> None:
    step = {"name": "a", "state": "Succeeded", "podUID": "p", "output": {"x": 1}, "message": "m"}
    done = a_run(11, phase="Succeeded", observedGeneration=observed, steps=[step], output={"x": 1})
    status = Seen().take(done).store.runs[RUN].status
    assert (status.output, status.steps[0].output, status.steps[0].pod_uid) == (kept, kept, "p")


def test_a_spec_is_read_once_as_long_as_it_is_the_same(world: Seen) -> None:
    before = world.store.runs[RUN]
    world.take(a_run(11, phase="Running"))
    after = world.store.runs[RUN]
    assert (after.spec is before.spec, after.status.phase) == (True, "Running")


def test_others_of_its_task_wait_for_a_run_that_a_later_release_is_at() -> None:
    store = Store(lambda _: None, lambda _: None)
    for name, status in (
        ("new", {"formatVersion": 99}),
        ("done", {"formatVersion": 99, "phase": "Failed"}),
        ("old", {}),
    ):
        run = body(
            "AgentRun", name, 1, spec={"idempotencyKey": "k", "steps": [{"name": "a", "tool": "a"}]}, status=status
        )
        store.take("AgentRun", run)
    assert store.same_task(store.runs[NAMESPACE, "old"]) == ("new",)


def test_of_a_status_that_a_later_release_has_written_nothing_is_taken_for_known(world: Seen) -> None:
    strange: dict[str, Any] = {"phase": "Dreaming", "steps": [{"name": "a", "state": "Asleep", "attempt": "two"}]}
    condition = {"type": "Stalled", "status": "True", "reason": "A", "lastTransitionTime": NOW.isoformat()}
    world.take(a_run(11, formatVersion=99, conditions=[condition], **strange))
    kept = world.store.runs[RUN]
    assert (kept.status.format_version, kept.status.phase, kept.status.steps, kept.is_final) == (
        99,
        "Pending",
        (),
        False,
    )
    assert [it.type for it in kept.status.conditions] == ["Stalled"]
    world.take(a_run(12, formatVersion=99, phase="Succeeded"))
    assert world.store.runs[RUN].is_final
    world.take(a_run(13, formatVersion=1))
    assert [it.name for it in world.store.runs[RUN].spec.steps] == ["a"], "the spec is read again"


@pytest.mark.parametrize("large", [{"x": "y" * MAX_SPEC}, {"x": [{}] * MAX_VALUES}])
def test_of_what_is_too_large_only_the_size_is_kept(large: dict[str, Any]) -> None:
    run = body("AgentRun", "run", 1, uid=RUN_UID, spec={"steps": [{"name": "a", "tool": "a"}], "input": large})
    tool = body("Tool", "a", 1, spec={"description": "d", "image": IMAGE, "inputSchema": large})
    store = Seen().take(run, tool).store
    kept, spec = store.runs[RUN], store.tools[NAMESPACE, "a"].spec
    assert isinstance(kept, OversizedRun)
    assert isinstance(spec, OversizedToolSpec)
    assert kept.size.startswith(f"{len(json.dumps(run['spec']))} bytes with ")
    assert kept.spec.input == spec.input_schema == {}
    with pytest.raises(Problem, match="so large a Tool is not taken"):
        check_tool(spec)


def test_no_empty_rows_are_kept_of_runs_that_are_gone(world: Seen) -> None:
    world.take(a_pod(11), an_approval(11), a_run(11), gone=True)
    assert (world.store._pods, world.store._approvals, world.store._known, world.store._keys) == ({}, {}, {}, {})


# ---------------------------------------------------------------------------------------- runs of the same task


def of_task(version: int, name: str, *, key: str = "k", **status: Any) -> dict[str, Any]:
    """A run that says which task it is."""
    spec = {"steps": [{"name": "a", "tool": "a"}], "idempotencyKey": key}
    return body("AgentRun", name, version, spec=spec, status=status)


BEGUN = {"phase": "Running", "startedAt": NOW.isoformat()}


def test_runs_of_one_task_know_which_of_them_have_begun() -> None:
    world = Seen().take(
        of_task(1, "first", **BEGUN),
        of_task(2, "waits"),
        of_task(3, "over", **(BEGUN | {"phase": "Failed"})),
        of_task(4, "other", key="other", **BEGUN),
        a_run(5, name="keyless", uid="keyless", startedAt=NOW.isoformat()),
    )
    runs = {name: run for (_, name), run in world.store.runs.items()}
    assert world.store.same_task(runs["waits"]) == ("first",)
    assert world.store.same_task(runs["first"]) == ()
    assert world.store.same_task(runs["keyless"]) == ()


@pytest.mark.parametrize("gone", [False, True])
def test_runs_that_wait_for_a_task_are_told_when_it_is_over(gone: bool) -> None:
    world = Seen().take(of_task(1, "first", **BEGUN), of_task(2, "waits"), of_task(3, "other", key="other"))
    world.store.take("AgentRun", of_task(4, "first", **BEGUN, progress="1/2"))
    assert world.told == [(NAMESPACE, "first")]
    last = of_task(5, "first", **BEGUN) if gone else of_task(5, "first", **(BEGUN | {"phase": "Succeeded"}))
    world.store.take("AgentRun", last, gone=gone)
    assert set(world.told) == {(NAMESPACE, "first"), (NAMESPACE, "waits")}
    assert world.store.same_task(world.store.runs[NAMESPACE, "waits"]) == ()


def test_a_run_that_was_made_again_for_another_task_is_none_of_the_first() -> None:
    world = Seen().take(of_task(1, "first", **BEGUN), of_task(2, "waits"))
    again = of_task(3, "first", key="other", **BEGUN)
    again["metadata"]["uid"] = "another"
    world.take(again)
    assert world.store.same_task(world.store.runs[NAMESPACE, "waits"]) == ()
    world.store.take("AgentRun", of_task(1, "first", **BEGUN), gone=True)
    world.store.take("AgentRun", again, gone=True)
    assert set(world.store.runs) == {(NAMESPACE, "waits")}
