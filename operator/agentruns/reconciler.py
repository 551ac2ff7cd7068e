"""One pass over one run: observe, decide, record, perform."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Final

from agentruns import metrics
from agentruns.announce import Announcer
from agentruns.answers import Answers, LaterError
from agentruns.clock import utc_now
from agentruns.cluster import RUNS, ApiError, Cluster
from agentruns.core.actions import Create
from agentruns.core.lifecycle import Decision, decide
from agentruns.core.naming import API_VERSION
from agentruns.core.observed import Observed, Question, Refusal, Unanswered
from agentruns.core.resources import HOLDING_STATES, AgentRun, RunStatus
from agentruns.orphans import release_orphans
from agentruns.performing import Performer, StaleError
from agentruns.queue import Key
from agentruns.results import Followers
from agentruns.settings import Settings
from agentruns.store import Store

MAX_ROUNDS: Final = 2000
"""Questions and preparations of one pass; a pass that needs more goes on in the next."""
LOOK_AGAIN: Final = 0.0


@dataclass(frozen=True)
class App:
    """What a pass works with."""

    cluster: Cluster
    store: Store
    answers: Answers
    followers: Followers
    announcer: Announcer
    settings: Settings


async def reconcile(key: Key, app: App) -> float | None:
    """One pass over a run; returns after how many seconds to look again, or None to wait for news."""
    run = app.store.runs.get(key)
    if run is None:
        await release_orphans(key, app.cluster, app.store)
        return None
    with metrics.PASS_SECONDS.time():
        again = await _pass(run, app)
    metrics.PASSES.inc()
    metrics.LAST_PASS.set_to_current_time()
    return again


async def _pass(run: AgentRun, app: App) -> float | None:
    perform = Performer(app.cluster, app.store, run)
    try:
        decision = await _decided(run, app, perform)
        if decision.status != run.status and not await _record(run, decision.status, app):
            return LOOK_AGAIN
        for action in decision.actions:
            await perform(action, utc_now())
    except LaterError:
        return None  # what is being worked out elsewhere adds the run again
    _follow_logs(run, decision.status, app)
    return None if decision.wake_at is None else (decision.wake_at - utc_now()).total_seconds()


async def _decided(run: AgentRun, app: App, perform: Performer) -> Decision:
    """The decision once everything it needs to know is known, and everything it needs to be there is there."""
    answers: dict[Question, Any] = {}
    refusals: dict[str, Refusal] = {}
    created: set[str] = set()
    jitter = random.random()
    for _ in range(MAX_ROUNDS):
        seen = _observe(run, app, answers, refusals, created, jitter)
        try:
            decision = await asyncio.to_thread(decide, run, seen)  # whatever it takes, others go on
        except Unanswered as asked:
            answers[asked.question] = await app.answers.to(asked.question, run)
            continue
        if not decision.preparations:
            app.answers.forget_costly(run)
            return decision
        await _prepare(decision, run, app, perform, refusals, created)
    raise StaleError("too much to prepare in one pass")


async def _prepare(
    decision: Decision,
    run: AgentRun,
    app: App,
    perform: Performer,
    refusals: dict[str, Refusal],
    created: set[str],
) -> None:
    """Makes what must be there before the decision can be recorded. If that fails, what is known is recorded first."""
    try:
        for preparation in decision.preparations:
            refusal = await perform(preparation, utc_now())
            if isinstance(preparation, Create):
                _note(preparation, refusal, refusals, created)
    except (ApiError, OSError, TimeoutError):
        if run.status.started_at is not None and decision.status.steps != run.status.steps:
            await _record(run, decision.status, app)
        raise


def _note(preparation: Create, refusal: Refusal | None, refusals: dict[str, Refusal], created: set[str]) -> None:
    name = preparation.manifest["metadata"]["name"]
    if refusal is None:
        created.add(name)
    else:
        refusals[name] = refusal


def _observe(
    run: AgentRun,
    app: App,
    answers: dict[Question, Any],
    refusals: dict[str, Refusal],
    created: set[str],
    jitter: float,
) -> Observed:
    """One consistent look at everything that is known of a run."""
    uid, namespace = run.metadata.uid, run.metadata.namespace
    pods = app.store.pods(uid)
    recorded = [step.pod_uid for step in run.status.steps if step.state in HOLDING_STATES]
    return Observed(
        now=utc_now(),
        jitter=jitter,
        pods=pods,
        approvals=app.store.approvals(uid),
        tools=app.store.tools_named(namespace, {step.tool for step in run.spec.steps}),
        results=app.store.results(recorded),
        policies=app.store.policies_in(namespace),
        stored=app.store.revisions_in(namespace) | created,
        refusals=refusals,
        sandbox=app.settings.sandbox.seen(),
        pod_retention=app.settings.pod_retention,
        answers=answers,
    )


async def _record(run: AgentRun, status: RunStatus, app: App) -> bool:
    """Writes the status under the version it was decided from; False if the run has changed meanwhile."""
    body = {
        "apiVersion": API_VERSION,
        "kind": "AgentRun",
        "metadata": {
            "name": run.metadata.name,
            "namespace": run.metadata.namespace,
            "uid": run.metadata.uid,
            "resourceVersion": run.metadata.resource_version,
        },
        "spec": {},
        "status": status.body(),
    }
    try:
        written = await app.cluster.put_status(RUNS, body)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        metrics.CONFLICTS.inc()
        await _look(run, app)
        return False
    app.store.take("AgentRun", written)
    app.announcer.tell(run, run.status, status)
    app.store.forget_results(step.pod_uid for step in status.steps if step.state not in HOLDING_STATES)
    return True


async def _look(run: AgentRun, app: App) -> None:
    """Takes in the run as it is now, or that it is gone."""
    try:
        app.store.take("AgentRun", await app.cluster.get(RUNS, run.metadata.namespace, run.metadata.name))
    except ApiError as error:
        if error.status != 404:
            raise
        app.store.forget(run.metadata.uid)


def _follow_logs(run: AgentRun, status: RunStatus, app: App) -> None:
    """The log of every running pod of a step in flight is followed for its result."""
    wanted = {step.pod_uid for step in status.steps if step.state in HOLDING_STATES}
    pods = app.store.pods(run.metadata.uid)
    running = [pod for uid, pod in pods.items() if uid in wanted and pod.started_at and pod.end is None]
    app.followers.follow(run.metadata.namespace, run.metadata.uid, running)
