"""What the chart's hooks run once: freeing sandbox pods after an uninstall, and `helm test`."""

import asyncio
import secrets
from typing import Any, Final

from agentruns.cluster import PODS, RUNS, TOOLS, ApiError, Cluster
from agentruns.core.naming import API_VERSION, FINALIZER_RESULT
from agentruns.core.patches import finalizer_off
from agentruns.core.resources import AgentRun

SELF_TEST_SECONDS: Final = 120.0


async def release_finalizers(cluster: Cluster, namespaces: list[str]) -> int:
    """How many sandbox pods were freed of this operator's finalizer; in all namespaces if none is named."""
    freed = 0
    places: list[str | None] = [*namespaces] or [None]
    for namespace in places:
        async for pods, _ in cluster.pages(PODS, namespace):
            for pod in pods:
                freed += await _free(cluster, pod["metadata"])
    return freed


async def _free(cluster: Cluster, metadata: dict[str, Any]) -> bool:
    finalizers = tuple(metadata.get("finalizers") or ())
    if FINALIZER_RESULT not in finalizers:
        return False
    patch = finalizer_off(metadata["uid"], finalizers)
    try:
        await cluster.patch(PODS, metadata["namespace"], metadata["name"], patch)
    except ApiError as error:
        if error.status != 404:
            raise
    return True


async def self_test(cluster: Cluster, namespace: str, image: str) -> str:
    """Runs an AgentRun of one step and returns what became of it, in a sentence; raises RuntimeError if it failed."""
    name = f"agentruns-test-{secrets.token_hex(4)}"
    await cluster.create(_tool(namespace, name, image))
    try:
        await cluster.create(_run(namespace, name))
        return await _outcome(cluster, namespace, name)
    finally:
        for resource in (RUNS, TOOLS):
            await cluster.delete(resource, namespace, name, {})


async def _outcome(cluster: Cluster, namespace: str, name: str) -> str:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SELF_TEST_SECONDS
    while True:
        run = AgentRun.model_validate(await cluster.get(RUNS, namespace, name))
        said = f"AgentRun {namespace}/{name}: {run.status.phase}, {run.status.reason}: {run.status.message}"
        if run.is_final:
            break
        if loop.time() > deadline:
            raise RuntimeError(f"{said}; it did not end within {SELF_TEST_SECONDS:.0f} s")
        await asyncio.sleep(0.5)
    if run.status.output != {"answer": 42}:
        raise RuntimeError(said)
    return said


def _tool(namespace: str, name: str, image: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Tool",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "description": "Answers; made by `helm test`.",
            "image": image,
            "command": ["python3", "-c", "print(42)"],
            "effect": "ReadOnly",
        },
    }


def _run(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"steps": [{"name": "ask", "tool": name}], "output": {"answer": "${steps.ask.output}"}},
    }
