"""What one operator bears, on a node that costs nothing: thousands of runs at once, one of a thousand steps.

The operator is a process of this machine, confined to the benchmark's own namespace, with the account it has in the
cluster; the installed one is not there meanwhile.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from agentruns.cluster import PODS, RUNS, Cluster

from tests import installed
from tests.bench import manifests, process
from tests.bench.api import Moments, phase_of, writes, writes_since
from tests.bench.report import row
from tests.bench.spaces import created, namespace
from tests.cluster.places import AUDIT_LOG
from tests.fake_node import FakeNode
from tests.images import sandbox_image
from tests.integration.operator_process import OperatorProcess

BURST: Final = int(os.environ.get("BENCH_BURST", "1000"))
LIVE: Final = tuple(int(it) for it in os.environ.get("BENCH_LIVE", "1000,10000").split(","))
LONG: Final = int(os.environ.get("BENCH_LONG", "1000"))
"""Steps of the long run."""
REST_SECONDS: Final = 30.0


async def reached(moments: Moments, names: list[str], phase: str) -> float:
    """The loop's time at which the last of these was seen in a phase."""
    return max([await moments.at(name, phase, 1800) for name in names])


async def burst(cluster: Cluster, node: FakeNode, place: Path) -> None:
    """Runs of one step, all at once, beside bare pods, all at once."""
    loop = asyncio.get_running_loop()
    async with namespace(cluster) as space:
        names = [f"bare-{number}" for number in range(BURST)]
        async with Moments(cluster, PODS, space, phase_of) as pods:
            start = loop.time()
            sandbox = manifests.sandbox(space, sandbox_image(), node.placement)
            await created(cluster, [manifests.bare_pod(sandbox, name) for name in names])
            bare = BURST / (await reached(pods, names, "Succeeded") - start)
        row("bare pods a second, created to ended", f"{bare:.0f}", f"{BURST} at once: what the cluster can do")
    async with namespace(cluster) as space, confined(place, space, node) as operator:
        offset = AUDIT_LOG.stat().st_size if AUDIT_LOG.exists() else 0
        names = [f"run-{number}" for number in range(BURST)]
        before = process.cpu_seconds(process.of(operator.pid))
        async with Moments(cluster, RUNS, space, phase_of) as runs:
            start = loop.time()
            await created(cluster, [manifests.run(space, name, 1) for name in names])
            rate = BURST / (await reached(runs, names, "Succeeded") - start)
        used = (process.cpu_seconds(process.of(operator.pid)) - before) / BURST * 1000
        row("runs of one step a second", f"{rate:.0f}, {rate / bare:.2f} of the bare pods", f"{BURST} at once")
        row("processor time of the operator a run", f"{used:.1f} ms", "the same runs")
        if AUDIT_LOG.exists():
            await asyncio.sleep(3)  # the API server writes its log in batches
            writes = sum(n for what, n in writes_since(AUDIT_LOG, offset).items() if "events" not in what)
            row("writes of the operator a run, but for Events", f"{writes / BURST:.2f}", "audit log")


@asynccontextmanager
async def confined(place: Path, space: str, node: FakeNode) -> AsyncIterator[OperatorProcess]:
    """An operator that runs the runs of one namespace, on this node."""
    operator = OperatorProcess(place, watchNamespaces=[space], sandbox=node.placement)
    try:
        await asyncio.to_thread(operator.start)
        yield operator
    finally:
        operator.stop()


async def long_run(cluster: Cluster, node: FakeNode, place: Path) -> None:
    """One run of many steps in sequence: what a step takes at the beginning and at the end."""
    loop = asyncio.get_running_loop()
    async with namespace(cluster) as space, confined(place, space, node) as operator:
        offset = AUDIT_LOG.stat().st_size if AUDIT_LOG.exists() else 0
        progress = lambda run: str(run.get("status", {}).get("progress", "")).partition("/")[0]  # noqa: E731
        async with Moments(cluster, RUNS, space, progress) as runs:
            before, start = process.cpu_seconds(process.of(operator.pid)), loop.time()
            await cluster.create(manifests.run(space, "long", LONG))
            moments = [await runs.at("long", str(done), 1800) for done in (10, 110, LONG - 110, LONG - 10)]
            await runs.at("long", str(LONG), 1800)
            took, used = loop.time() - start, process.cpu_seconds(process.of(operator.pid)) - before
        first, last = (moments[1] - moments[0]) * 10, (moments[3] - moments[2]) * 10
        row("a step in sequence, at the beginning", f"{first:.1f} ms", f"steps 10 to 110 of {LONG}")
        row("a step in sequence, at the end", f"{last:.1f} ms, {last / first:.2f} times", f"the last {LONG - 110}")
        row("steps a second of one run", f"{LONG / took:.0f}", f"{LONG} steps in sequence")
        row("processor time of the operator a step", f"{used / LONG * 1000:.1f} ms", "the same run")
        if AUDIT_LOG.exists():
            await asyncio.sleep(3)  # the API server writes its log in batches
            _told_of_records([it for what, it in writes(AUDIT_LOG, offset) if what == "update/agentruns/status"])


def _told_of_records(seconds: list[float]) -> None:
    """What it took to write the status near the beginning of a long run, and near its end."""
    early, late = (statistics.median(some) * 1000 for some in (seconds[10:110], seconds[-110:-10]))
    row("a write of the status, at the beginning", f"{early:.1f} ms", "median of 100, in the audit log")
    row("a write of the status, at the end", f"{late:.1f} ms, {late / early:.2f} times", "the same")


async def live(cluster: Cluster, node: FakeNode, place: Path, count: int, tool: str, phase: str) -> None:
    """So many runs at once that are under way, or wait: what they hold, and how soon a new process is ready."""
    async with namespace(cluster) as space, confined(place, space, node) as operator:
        names = [f"live-{number}" for number in range(count)]
        async with Moments(cluster, RUNS, space, phase_of) as runs:
            await created(cluster, [manifests.run(space, name, 1, tool) for name in names])
            await reached(runs, names, phase)
        await process.at_rest(process.of(operator.pid))
        share = await process.cpu_share(process.of(operator.pid), REST_SECONDS)
        memory = process.resident_mib(process.of(operator.pid))
        what = {"Running": "with a pod that runs", "AwaitingApproval": "that wait for a person"}[phase]
        row(f"{count} runs {what}", f"{share:.2f} % of a core, {memory:.0f} MiB", f"{REST_SECONDS:.0f} s")
        operator.kill()
        start = time.monotonic()
        await asyncio.to_thread(operator.start)
        ready = time.monotonic() - start
        row(f"{count} runs {what}: restart to ready", f"{ready:.1f} s", "a new process")


async def measured(cluster: Cluster) -> None:
    """Prints the rows of the table."""
    with tempfile.TemporaryDirectory() as folder, installed.absent():
        async with FakeNode(await Cluster.connect()) as node:
            await burst(cluster, node, Path(folder))
            await long_run(cluster, node, Path(folder))
            for tool, phase in (("asking", "AwaitingApproval"), ("endless", "Running")):  # those with pods go slowly
                for count in LIVE:
                    await live(cluster, node, Path(folder), count, tool, phase)
