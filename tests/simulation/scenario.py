"""What is asked of the operator in one seed: a few Tools, and runs over them, as people would apply them."""

from itertools import product
from random import Random
from typing import Any, Final

from agentruns.cluster import Body
from agentruns.core.naming import API_VERSION

NAMESPACES: Final = ("shop", "bank")
_IMAGE: Final = f"registry.example/tool@sha256:{'a' * 64}"
EFFECTS: Final = ("ReadOnly", "Idempotent", "NonIdempotent", "NonIdempotent")
FINDER: Final = "finder"
"""The Tool that tells whether an effect took place."""

Kind = tuple[str, str, bool]
"""The effect of a Tool, when it asks, and whether its doubts are settled by the finder."""


def manifests(random: Random, *, in_git: bool = False) -> list[Body]:
    """Tools first, then one to three runs, the first of which a GitOps controller applies, if there is one."""
    runs = [_run(random, number) for number in range(random.choice((1, 1, 2, 3)))]
    if random.random() < 0.2:
        runs.append(_of_the_same_task(runs[0]))
    if in_git:
        runs[0]["spec"] |= {"idempotencyKey": "task-1", "ttlAfterFinished": random.choice(("5s", "60s", "200s"))}
    return [tool for namespace in NAMESPACES for tool in _tools(_used(runs, namespace), namespace)] + runs


def tool_name(effect: str, asks: str, settles: bool) -> str:
    """The name of the one Tool of this kind."""
    return f"{effect}-{asks}{'-settles' if settles else ''}".lower()


def _used(runs: list[Body], namespace: str) -> list[Kind]:
    """The Tools that the runs of a namespace name."""
    wanted = {
        step["tool"] for run in runs if run["metadata"]["namespace"] == namespace for step in run["spec"]["steps"]
    }
    kinds = product(dict.fromkeys(EFFECTS), ("Never", "Always"), (False, True))
    return [kind for kind in kinds if tool_name(*kind) in wanted]


def _tools(kinds: list[Kind], namespace: str) -> list[Body]:
    tools = [_tool(namespace, *kind) for kind in kinds]
    if any(settles for _, _, settles in kinds):
        tools.append(_object("Tool", namespace, FINDER, _spec("ReadOnly", "Never")))
    return tools


def _tool(namespace: str, effect: str, asks: str, settles: bool) -> Body:
    settle = {"settle": {"tool": FINDER, "happened": "result.found", "after": "1s"}} if settles else {}
    return _object("Tool", namespace, tool_name(effect, asks, settles), _spec(effect, asks) | settle)


def _spec(effect: str, asks: str) -> Body:
    return {
        "description": "Does it.",
        "image": _IMAGE,
        "effect": effect,
        "approval": asks,
        "timeout": "10s",
        "retry": {"attempts": 3, "initialBackoff": "1s", "maxBackoff": "20s"},
    }


def _run(random: Random, number: int) -> Body:
    count = random.choice((1, 1, 2, 3, 4))
    order = random.choice(("Sequence", "Graph"))
    steps: list[dict[str, Any]] = []
    for place in range(count):
        effect = random.choice(EFFECTS)
        settles = effect == "NonIdempotent" and random.random() < 0.5
        tool = tool_name(effect, random.choice(("Never", "Never", "Always")), settles)
        step: dict[str, Any] = {"name": f"s{place}", "tool": tool}
        before = [it["name"] for it in steps]
        needs = random.sample(before, random.randint(0, min(2, len(before))))
        if order == "Graph" and needs:
            step["needs"] = sorted(needs)
        if order == "Sequence" and before and random.random() < 0.3:
            step["args"] = {"of": f"${{steps.{before[-1]}.output}}"}
        if random.random() < 0.2:
            step["onFailure"] = "Continue"
        steps.append(step)
    spec: dict[str, Any] = {"steps": steps, "order": order}
    if random.random() < 0.2:
        spec["deadline"] = random.choice(("5s", "30s", "120s"))
    return _object("AgentRun", random.choice(NAMESPACES), f"run-{number}", spec)


def _of_the_same_task(run: Body) -> Body:
    """A run that is applied for the task that another one is for."""
    run["spec"]["idempotencyKey"] = "task-1"
    return _object("AgentRun", run["metadata"]["namespace"], "again", run["spec"])


def _object(kind: str, namespace: str, name: str, spec: Body) -> Body:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
