"""python -m tests.unit.kept: runs in mid-course, kept as this version stores them, for every later one to go on with.

A file is written once for each format of the status, and never again once a release has gone out with it.
"""

import json
from pathlib import Path
from typing import Any, Final

from agentruns.core.journal import SEGMENT
from agentruns.core.observed import ContainerEnd

from tests.unit.builders import NOW, a_run, a_step, a_tool
from tests.unit.play import Play
from tests.unit.stored_pods import RUNNING, ended

FIXTURES: Final = Path(__file__).with_name("fixtures")
SPEC: Final[dict[str, Any]] = {
    "goal": "Refund order 4711 if the parcel was lost.",
    "input": {"order": "4711"},
    "order": "Sequence",
    "steps": [
        a_step("lookup", args={"order": "${run.input.order}"}),
        a_step(
            "refund",
            when="steps.lookup.output.lost",
            args={"order": "${run.input.order}", "amount": "${steps.lookup.output.total}"},
            why="carrier says: ${steps.lookup.output.note}",
            verify=[{"expression": "result.receipt.startsWith('R-')", "message": "the provider gave no receipt"}],
        ),
        a_step("note", args={"receipt": "${steps.refund.output.receipt}"}),
    ],
    "output": {"receipt": "${steps.refund.output.receipt}", "order": "${steps.lookup.output.order}"},
}
TOOLS: Final = {
    "lookup": a_tool(outputSchema={"type": "object", "required": ["lost"]}),
    "refund": a_tool(effect="NonIdempotent", approvalSummary="Refund ${args.amount} EUR for order ${args.order}"),
    "note": a_tool(effect="Idempotent", approval="Never"),
}
TASK: Final = SPEC | {"idempotencyKey": "refund-4711"}
LONG: Final[dict[str, Any]] = {
    "steps": [
        *(a_step(f"s{number}") | {"tool": "lookup"} for number in range(2 * SEGMENT + 1)),
        a_step("refund", args={"of": "${steps.s0.output.of}"}) | {"tool": "note"},
        a_step("note"),
    ],
    "output": {"first": "${steps.s0.output.of}", "receipt": "${steps.refund.output.receipt}"},
}
FOUND: Final = {"order": "4711", "lost": True, "total": "12.50", "note": "lost at sea. " * 400}
"""A result of more than 4 KiB, so that it is stored beside the run."""


def waiting() -> Play:
    """A run that has looked something up, and waits for a person."""
    return Play(a_run(**SPEC), dict(TOOLS)).go().succeeds("lookup", FOUND)


def running() -> Play:
    """The same run, approved, with a pod that runs."""
    return waiting().decides("refund", "Approve", reason="checked with the carrier").starts("refund").go(5)


def with_a_journal() -> Play:
    """A long run whose first records are in its journal, and whose last step but one runs; earlier pods are gone."""
    play = Play(a_run(**LONG), dict(TOOLS)).go()
    for step in LONG["steps"][:-2]:
        play.succeeds(step["name"], {"lost": True, "of": step["name"]})
    play.starts("refund").go(5)
    play.pods = {uid: pod for uid, pod in play.pods.items() if pod.active}
    assert play.status.journal and play.states()["refund"] == "Running"
    return play


def settling() -> Play:
    """A run with a step in doubt, about which a tool is being asked."""
    settle = {"tool": "find", "happened": "result.found", "after": "30s"}
    tools = {**TOOLS, "refund": a_tool(effect="NonIdempotent", settle=settle), "find": a_tool()}
    play = Play(a_run(**SPEC), tools).go().succeeds("lookup", FOUND).decides("refund", "Approve")
    play.fails("refund", 137).go(30).starts("refund-settle").go(5)
    assert play.states() == {"lookup": "Succeeded", "refund": "InDoubt", "refund-settle": "Running"}
    return play


def with_its_task_in_doubt() -> Play:
    """A run that asks what became of its task, since the run that had begun it is gone."""
    first = Play(a_run(**TASK, metadata={"name": "gone", "uid": "gone"}), dict(TOOLS)).go()
    play = Play(a_run(**TASK), dict(TOOLS), claims=first.claims).go()
    assert play.status.reason == "TaskInDoubt"
    return play


def objects(play: Play, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything of a run of this spec as the API server has it."""
    run = play.run
    metadata = run.metadata.model_dump(mode="json", by_alias=True, exclude_none=True)
    body = {"apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": metadata, "spec": spec}
    approvals = [_approval(play, name) for name in play.approvals]
    pods = [_pod(play, uid) for uid in play.pods]
    kept = [_born(it, it["metadata"]["name"]) for it in (*play.stored.values(), *play.claims.values())]
    return [body | {"status": run.status.body()}, *approvals, *pods, *kept]


def _born(manifest: dict[str, Any], name: str, **metadata: Any) -> dict[str, Any]:
    born = {"uid": f"uid-of-{name}", "resourceVersion": "7", "creationTimestamp": NOW.isoformat(), **metadata}
    return manifest | {"metadata": manifest["metadata"] | born}


def _approval(play: Play, name: str) -> dict[str, Any]:
    approval, manifest = play.approvals[name], play.manifests[name]
    decision = approval.spec.decision
    spec = manifest["spec"] | ({"decision": decision.model_dump(mode="json", exclude_none=True)} if decision else {})
    born = _born(manifest | {"spec": spec}, name, generation=2 if decision else 1)
    return born | {"status": approval.status.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _pod(play: Play, uid: str) -> dict[str, Any]:
    pod = play.pods[uid]
    manifest = play.manifests[pod.name]
    ungated = {key: value for key, value in manifest["spec"].items() if key != "schedulingGates"}
    born = _born(manifest, pod.name, finalizers=list(pod.finalizers))
    tool = {"name": "tool", "imageID": pod.image, **(_end(pod.end) if pod.end else RUNNING)}
    return born | {
        "spec": ungated | {"nodeName": pod.node},
        "status": {"phase": pod.phase, "containerStatuses": [tool]},
    }


def _end(end: ContainerEnd) -> dict[str, Any]:
    return ended(exitCode=end.exit_code, reason=end.reason)


def main() -> None:
    """Writes the files that are not there."""
    plays = {
        "waiting": (waiting(), SPEC),
        "running": (running(), SPEC),
        "journal": (with_a_journal(), LONG),
        "settling": (settling(), SPEC),
        "task-in-doubt": (with_its_task_in_doubt(), TASK),
    }
    for name, (play, spec) in plays.items():
        path = FIXTURES / f"v{play.status.format_version}-{name}.json"
        text = json.dumps({"kind": "List", "apiVersion": "v1", "items": objects(play, spec)}, indent=1)
        if not path.exists():
            path.write_text(text + "\n")


if __name__ == "__main__":
    main()
