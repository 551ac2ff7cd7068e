"""What runs cost on a real kubelet, beside bare pods: latency, writes, two hundred at once, a thousand that wait."""

import asyncio
import os
import statistics
from contextlib import nullcontext
from functools import partial
from typing import Any

from agentruns.cluster import APPROVALS, PODS, RUNS, Body, Cluster, Resource

from tests.bench import manifests, process
from tests.bench.apart import apart
from tests.bench.api import Moments, phase_of, writes_since
from tests.bench.report import row, spread
from tests.bench.spaces import created, namespace
from tests.cluster.places import AUDIT_LOG
from tests.images import sandbox_image

WAITING = int(os.environ.get("BENCH_WAITING", "1000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "20"))
AT_ONCE = int(os.environ.get("BENCH_AT_ONCE", "200"))
STEPS = 5
MERGE_PATCH = "application/merge-patch+json"


async def bare_pods(cluster: Cluster, space: str) -> list[float]:
    """Seconds from the answer to the create of a pod to its line being read, once per round."""
    loop = asyncio.get_running_loop()
    found = []
    async with Moments(cluster, PODS, space, phase_of) as pods:
        for number in range(ROUNDS):
            name = f"bare-{number}"
            await cluster.create(manifests.bare_pod(manifests.sandbox(space, sandbox_image()), name))
            start = loop.time()
            await pods.at(name, "Running")
            async with cluster.pod_log(space, name, "tool", follow=True) as stream:
                await stream.readline()
            found.append(loop.time() - start)
            await asyncio.sleep(0.5)
    return found


async def runs_of(cluster: Cluster, space: str, steps: int) -> list[float]:
    """Seconds from the answer to the create of a run to Succeeded on a watch, once per round."""
    loop = asyncio.get_running_loop()
    found = []
    async with Moments(cluster, RUNS, space, phase_of) as runs:
        for number in range(ROUNDS):
            name = f"run-{steps}-{number}"
            await cluster.create(manifests.run(space, name, steps))
            start = loop.time()
            found.append(await runs.at(name, "Succeeded") - start)
            await asyncio.sleep(0.5)
    return found


def _is_in(phases: set[str], body: dict[str, Any]) -> str:
    return "reached" if phase_of(body) in phases else ""


async def at_once(cluster: Cluster) -> dict[str, float]:
    """How many a minute one kubelet takes, all asked for at once: bare pods until they run, runs until they succeed.

    The pods of the ones are gone before the others come, since a kubelet looks after those that have ended, too.
    """
    found = {}
    begun = {"Running", "Succeeded"}  # one that ends at once is never seen to run
    async with namespace(cluster, emptied=True) as space:
        sandbox = manifests.sandbox(space, sandbox_image())
        pods = [manifests.bare_pod(sandbox, f"many-{number}") for number in range(AT_ONCE)]
        found["bare"] = AT_ONCE / await _all_in(cluster, PODS, pods, begun) * 60
    async with namespace(cluster, emptied=True) as space:
        runs = [manifests.run(space, f"many-{number}", 1) for number in range(AT_ONCE)]
        before = process.cpu_seconds(process.operator())
        found["runs"] = AT_ONCE / await _all_in(cluster, RUNS, runs, {"Succeeded"}) * 60
        found["cpu"] = (process.cpu_seconds(process.operator()) - before) / AT_ONCE * 1000
    return found


async def _all_in(cluster: Cluster, resource: Resource, bodies: list[Body], phases: set[str]) -> float:
    """Seconds from asking for all of these to the last one's being seen in one of the phases."""
    loop = asyncio.get_running_loop()
    async with Moments(cluster, resource, bodies[0]["metadata"]["namespace"], partial(_is_in, phases)) as seen:
        start = loop.time()
        await created(cluster, bodies)
        return max([await seen.at(body["metadata"]["name"], "reached", 600) for body in bodies]) - start


async def waiting_runs(cluster: Cluster, space: str) -> dict[str, float]:
    """What runs cost that wait for a person: how soon they wait, what they hold, how soon a decision is acted on."""
    loop = asyncio.get_running_loop()
    phase = Moments(cluster, RUNS, space, phase_of)
    names = [f"wait-{number}" for number in range(WAITING)]
    async with phase as runs:
        start = loop.time()
        await created(cluster, [manifests.run(space, name, 1, "asking") for name in names])
        stored = loop.time() - start
        for name in names:
            await runs.at(name, "AwaitingApproval", 600)
        waiting = loop.time() - start
        operator = process.operator()
        await asyncio.sleep(20)
        rest = await process.cpu_share(operator, 30)
        decided = await _decisions(cluster, space)
    return {
        "created": stored,
        "waiting": waiting,
        "cpu": rest,
        "rss": process.resident_mib(operator),
        "decision": statistics.median(decided),
    }


async def _decisions(cluster: Cluster, space: str) -> list[float]:
    """Seconds from the answer to a decision's patch to the step's pod being seen, once per round."""
    loop = asyncio.get_running_loop()
    approvals = [it async for page, _ in cluster.pages(APPROVALS, space) for it in page][:ROUNDS]
    found = []
    async with Moments(cluster, PODS, space, lambda _: "there") as pods:
        for approval in approvals:
            decision = {"verdict": "Approve", "digest": approval["spec"]["digest"]}
            path = APPROVALS.path(space, approval["metadata"]["name"])
            before = set(pods.seen)
            await cluster._call("PATCH", path, {"spec": {"decision": decision}}, content_type=MERGE_PATCH)
            start = loop.time()
            while not (new := set(pods.seen) - before):
                await asyncio.sleep(0.001)
            found.append(pods.seen[new.pop()] - start)
            await asyncio.sleep(1)
    return found


async def measured(cluster: Cluster) -> None:
    """Prints the rows of the table."""
    async with namespace(cluster) as space:
        await _in_sequence(cluster, space)
        await _all_at_once(cluster)
        if WAITING:
            await _waiting(cluster, space)


async def _in_sequence(cluster: Cluster, space: str) -> None:
    bare = await bare_pods(cluster, space)
    row("bare pod, created to its line read", spread(bare), f"{ROUNDS} in sequence, the same pod without the operator")
    offset = AUDIT_LOG.stat().st_size if AUDIT_LOG.exists() else 0
    one = await runs_of(cluster, space, 1)
    row("run of one step, created to Succeeded", spread(one), f"{ROUNDS} in sequence, seen on a watch")
    many = await runs_of(cluster, space, STEPS)
    each = (statistics.median(many) - statistics.median(one)) / (STEPS - 1)
    more = (each - statistics.median(bare)) * 1000
    row("each further step, over the bare pod", f"{more:+.0f} ms", f"runs of {STEPS} steps less runs of one")
    if AUDIT_LOG.exists():
        await asyncio.sleep(3)  # the API server writes its log in batches
        steps = ROUNDS * (STEPS + 1)
        for what, count in sorted(writes_since(AUDIT_LOG, offset).items()):
            if "leases" in what:
                continue  # as often, whatever is done
            row(f"writes of the operator: {what}", f"{count / steps:.2f} a step", f"audit log, {steps} steps")


async def _all_at_once(cluster: Cluster) -> None:
    for where, how in ((apart(), "node and control plane each on one processor"), (nullcontext(), "all on both")):
        with where:
            burst = await at_once(cluster)
        share = burst["runs"] / burst["bare"]
        row(f"{AT_ONCE} bare pods at once, until all run", f"{burst['bare']:.0f} a minute", how)
        told = f"{burst['runs']:.0f} a minute, {share:.2f} of that"
        row(f"{AT_ONCE} runs of one step at once, until all succeeded", told, how)
        row("processor time of the operator a run", f"{burst['cpu']:.1f} ms", "the same runs")


async def _waiting(cluster: Cluster, space: str) -> None:
    found = await waiting_runs(cluster, space)
    times = f"{found['created']:.1f} s / {found['waiting']:.1f} s"
    row(f"{WAITING} runs created / all waiting", times, "one client")
    row(f"at rest with {WAITING} waiting runs", f"{found['cpu']:.2f} % of a core, {found['rss']:.0f} MiB", "30 s")
    row("decision patched to pod created", f"p50 {found['decision'] * 1000:.0f} ms", f"{ROUNDS} decisions")
