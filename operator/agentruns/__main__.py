"""The start: settings, logging, metrics, then kopf's watching and our queue side by side."""

import argparse
import asyncio
import logging
import secrets
import sys
from pathlib import Path
from typing import Any, Final

from agentruns import chores, handlers, logs, metrics
from agentruns.announce import Announcer
from agentruns.answers import Answers
from agentruns.cluster import Cluster
from agentruns.collecting import keep_collecting, keep_forgetting
from agentruns.core.naming import Key
from agentruns.costly import Evaluators
from agentruns.health import Health
from agentruns.leadership import Leadership
from agentruns.listing import keep_listing, list_persistently
from agentruns.queue import Queue
from agentruns.reconciler import App, reconcile
from agentruns.results import Followers
from agentruns.room import Room
from agentruns.settings import Settings, own_identity, own_namespace
from agentruns.standing import describe
from agentruns.store import Store
from agentruns.tool_readiness import reconcile_tool
from agentruns.watches import Watches

RECURSION_LIMIT: Final = 50_000
"""The API server accepts JSON nested 10,000 deep; reading it must not end a watch. Anything deep is refused later."""

TELL_FAILURES: Final = 3
"""Failures of passes over a run, one after the other, that make an Event."""

log = logging.getLogger(__name__)


def main() -> None:
    """Runs the operator until it is told to stop; what goes wrong ends the process with an error."""
    parser = argparse.ArgumentParser(prog="agentruns", description="The AgentRun operator.")
    parser.add_argument("--settings", type=Path, help="a JSON file, as the Helm chart renders it")
    parser.add_argument(
        "--release-finalizers",
        nargs="*",
        metavar="NAMESPACE",
        help="free the sandbox pods that an uninstalled operator left, in all namespaces if none is named, and end",
    )
    parser.add_argument("--self-test", action="store_true", help="run an AgentRun of one step, and end")
    parser.add_argument("--namespace", default="default", help="where --self-test runs it")
    parser.add_argument("--image", default="", help="the sandbox image that --self-test runs")
    arguments = parser.parse_args()
    settings = Settings.read(arguments.settings)
    sys.setrecursionlimit(RECURSION_LIMIT)
    logs.configure(settings.log_level)
    if arguments.self_test or arguments.release_finalizers is not None:
        print(asyncio.run(_chore(arguments)))
    else:
        asyncio.run(operate(settings))


async def _chore(arguments: argparse.Namespace) -> str:
    """What was done, in a sentence."""
    cluster = await Cluster.connect()
    try:
        if arguments.self_test:
            return await chores.self_test(cluster, arguments.namespace, arguments.image)
        return f"freed {await chores.release_finalizers(cluster, arguments.release_finalizers)} sandbox pods"
    finally:
        await cluster.close()


async def operate(settings: Settings) -> None:
    """Lists everything, then watches, and works once it leads; a part that fails ends all, and the pod starts anew."""
    cluster = await Cluster.connect()
    queue = Queue(lambda key: reconcile(key, app), lambda *failed: _failed(app, *failed))
    tool_queue = Queue(lambda key: reconcile_tool(key, cluster, store), _tool_failed, workers=3, noun="tool")
    store = Store(queue.add, tool_queue.add)
    announcer = Announcer(cluster, own_identity(), secrets.token_hex(4))
    followers = Followers(cluster, store)
    room = Room(settings.limits, store, queue.add)
    answers = Answers(cluster, store, queue.add, Evaluators())
    app = App(cluster, store, answers, room, followers, announcer, settings)
    watches = Watches(store.take_event)
    health = Health(queue, watches)
    metrics.serve(settings.metrics_port)
    await health.serve(settings.health_port)
    await list_persistently(cluster, store, settings.watch_namespaces)
    health.listed = True
    log.info("listed %d runs", len(store.runs))
    await _run(app, {"AgentRun": queue, "Tool": tool_queue}, watches)


def _failed(app: App, key: Key, times: int, error: Exception) -> None:
    """Counts a failed pass over a run; people are told once it is no passing trouble."""
    metrics.PASS_ERRORS.labels("AgentRun").inc()
    run = app.store.runs.get(key)
    if times == TELL_FAILURES and run is not None:
        app.announcer.warn(run, error)


def _tool_failed(key: Key, times: int, error: Exception) -> None:
    del key, times, error
    metrics.PASS_ERRORS.labels("Tool").inc()


async def _run(app: App, queues: dict[str, Queue], watches: Watches) -> None:
    """Watches and works until a part of it ends, then ends the others and lets a standby take over."""
    stop = asyncio.Event()
    settings, namespaces = app.settings, app.settings.watch_namespaces
    leadership = await Leadership.connect(own_namespace(), own_identity()) if settings.leader_election else None
    parts: list[asyncio.Task[Any]] = [
        asyncio.create_task(handlers.watch(app.store, namespaces, watches, stop), name="watching"),
        asyncio.create_task(keep_listing(app.cluster, app.store, namespaces, watches.gap), name="listing"),
        asyncio.create_task(_work(app, queues, leadership), name="working"),
        asyncio.create_task(stop.wait(), name="stopping"),
    ]
    done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    watching, *others = parts
    await _cancelled(others)
    await app.followers.close()
    await app.answers.close()
    if leadership:
        await leadership.release()
    await asyncio.wait([watching], timeout=10)
    await _cancelled([watching])
    await app.cluster.close()
    for part in done:
        part.result()


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    """Returns once these tasks have ended, whether they would or not."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _work(app: App, queues: dict[str, Queue], leadership: Leadership | None) -> None:
    """Stands by until this process leads, with everything known already; then works until it is cancelled."""
    namespaces = app.settings.watch_namespaces
    if leadership:
        await leadership.acquired()
    describe(app.store, queues)
    metrics.lead()
    async with asyncio.TaskGroup() as group:
        if leadership:
            group.create_task(leadership.keep())
        for queue in queues.values():
            group.create_task(queue.run())
        group.create_task(app.announcer.run())
        group.create_task(keep_collecting(app.cluster, app.store))
        group.create_task(keep_forgetting(app.cluster, namespaces, app.settings.claim_retention))
        group.create_task(app.answers.proof.keep_trying(namespaces or (own_namespace(),)))


if __name__ == "__main__":
    main()
