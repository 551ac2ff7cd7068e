"""One pass over one run: observe, decide, record, perform."""

import asyncio
import random
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

from agentruns import metrics
from agentruns.announce import Announcer
from agentruns.answers import Answers, LaterError
from agentruns.clock import utc_now
from agentruns.cluster import RUNS, ApiError, Cluster
from agentruns.core.actions import Create, Preparation, SetConditions, WriteClaim
from agentruns.core.lifecycle import Decision, decide
from agentruns.core.naming import Key, gone_run
from agentruns.core.observed import POD_LIMIT_REACHED, Observed, Refusal
from agentruns.core.questions import OfTasks, Unanswered, key_of
from agentruns.core.records import HOLDING_STATES, RunStatus
from agentruns.core.resources import AgentRun
from agentruns.fresh import is_there
from agentruns.orphans import tidy_orphans
from agentruns.performing import Performer, StaleError
from agentruns.results import Followers
from agentruns.room import Room
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
    room: Room
    followers: Followers
    announcer: Announcer
    settings: Settings


async def reconcile(key: Key, app: App) -> float | None:
    """One pass over a run; returns after how many seconds to look again, or None to wait for news."""
    app.room.share()  # what has this run looked at may be that a pod has ended
    run = app.store.runs.get(key)
    if run is None:
        app.answers.forget(key)
        _leave(key, app)
        if run_uid := gone_run(key):
            await tidy_orphans(key[0], run_uid, app.cluster, app.store)
        return None
    with metrics.PASS_SECONDS.time():
        again = await _passed(key, run, app)
    metrics.LAST_PASS.set_to_current_time()
    return again


async def _passed(key: Key, run: AgentRun, app: App) -> float | None:
    try:
        again = await Pass(run, app).made()
    except LaterError:
        # What is being worked out elsewhere adds the run again. Room that is kept for it stays so: if it had to stand
        # in line anew, whoever takes long to put arguments together would never be next with them at hand.
        app.answers.readers.rest(key)
        return None
    except Exception:
        _leave(key, app)  # others need not wait until it succeeds
        app.answers.logs.forget(key)  # and there may be megabytes of them
        raise
    app.answers.readers.leave(key)
    return again


def _leave(key: Key, app: App) -> None:
    """The run waits for nothing that others take, and keeps nothing from them."""
    app.answers.readers.leave(key)
    app.room.leave(key)


class Pass:
    """One pass over one run, and what it has found out so far."""

    def __init__(self, run: AgentRun, app: App) -> None:
        self._run, self._app = run, app
        self._key: Key = (run.metadata.namespace, run.metadata.name)
        self._perform = Performer(app.cluster, app.store, self._key, run.metadata.uid)
        self._jitter = random.random()
        self._answers: dict[Hashable, Any] = {}
        self._refusals: dict[str, Refusal] = {}
        self._created: set[str] = set()

    async def made(self) -> float | None:
        """Makes the pass; returns after how many seconds to look again, or None to wait for news.

        Raises LaterError if it cannot be decided yet.
        """
        decision = await self._decided()
        if decision.status != self._run.status and not await self._record(decision.status):
            return LOOK_AGAIN
        for action in decision.actions:
            await self._perform(action)
            if isinstance(action, SetConditions):
                self._app.announcer.state(self._run, action.conditions)
        self._follow_logs(decision.status)
        return None if decision.wake_at is None else (decision.wake_at - utc_now()).total_seconds()

    async def _decided(self) -> Decision:
        """The decision once everything it needs to know is known, and everything it needs to be there is there."""
        for _ in range(MAX_ROUNDS):
            try:
                decision = await asyncio.to_thread(decide, self._run, self._observed())  # others go on meanwhile
            except Unanswered as asked:
                found = await self._app.answers.to(asked.questions, self._run)
                self._answers |= {key_of(question): answer for question, answer in found.items()}
                continue
            if not decision.preparations:
                self._app.answers.forget(self._key)
                if all(it.reason != POD_LIMIT_REACHED for it in self._refusals.values()):
                    self._app.room.leave(self._key)
                return decision
            await self._prepare(decision)
        raise StaleError("too much to prepare in one pass")

    def _observed(self) -> Observed:
        """One consistent look at everything that is known of the run."""
        run, store, settings = self._run, self._app.store, self._app.settings
        namespace, uid = run.metadata.namespace, run.metadata.uid
        return Observed(
            now=utc_now(),
            jitter=self._jitter,
            pods=store.pods(uid),
            approvals=store.approvals(uid),
            tools=store.tools_named(namespace, {step.tool for step in run.spec.steps}),
            results=store.results(step.pod_uid for step in run.status.steps if step.state in HOLDING_STATES),
            policies=store.names("NetworkPolicy", namespace),
            stored=store.names("ControllerRevision", namespace) | self._created,
            same_task=store.same_task(run),
            refusals=self._refusals,
            sandbox=settings.sandbox,
            pod_retention=settings.pod_retention,
            answers=self._answers,
        )

    async def _prepare(self, decision: Decision) -> None:
        """Makes what must be there before the decision can be recorded. If that fails, what is known is recorded."""
        try:
            for preparation in decision.preparations:
                if isinstance(preparation, Create) and preparation.name in self._created:
                    raise StaleError(f"{preparation.name} was made in this pass, and is not what was asked for")
                refusal = await self._prepared(preparation)
                if isinstance(preparation, WriteClaim):
                    self._forget_tasks()
                if isinstance(preparation, Create) and refusal is None:
                    self._created.add(preparation.name)
                elif isinstance(preparation, Create | WriteClaim) and refusal:
                    self._refusals[preparation.name] = refusal
        except ApiError:
            if self._run.status.started_at is not None and decision.status.steps != self._run.status.steps:
                await self._record(decision.status)
            raise

    async def _prepared(self, preparation: Preparation) -> Refusal | None:
        """Performs a preparation, a pod's only if there is room for it; a Refusal if it may not be."""
        kind = preparation.manifest["kind"] if isinstance(preparation, Create) else ""
        if kind == "Approval" or isinstance(preparation, WriteClaim):
            await self._expect_latest()
        if kind != "Pod":
            return await self._perform(preparation)
        with self._app.room.for_pod(self._key) as full:
            return full or await self._perform(preparation)

    def _forget_tasks(self) -> None:
        """What was read of a task is no news any more, whoever has written its claim."""
        self._answers = {key: it for key, it in self._answers.items() if not isinstance(key, OfTasks)}

    async def _expect_latest(self) -> None:
        """StaleError unless the run is as it was looked at: what has moved on may be answered, or over, or gone."""
        await is_there(self._app.cluster, self._app.store, RUNS, self._key, self._run.metadata.uid)
        if self._app.store.runs.get(self._key) is not self._run:
            raise StaleError("the run has changed since it was looked at")

    async def _record(self, status: RunStatus) -> bool:
        """Writes the status under the version it was decided from; False if the run has changed meanwhile."""
        run, store = self._run, self._app.store
        try:
            written = await self._app.cluster.put_status(RUNS, run.metadata, status)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            metrics.CONFLICTS.inc()
            there = await is_there(self._app.cluster, store, RUNS, self._key, run.metadata.uid)
            now = store.runs.get(self._key)
            if there and now and now.metadata.resource_version == run.metadata.resource_version:
                raise  # it has not changed, so there is nothing else to be decided by looking again at once
            return False
        store.take("AgentRun", written)
        self._app.announcer.tell(run, run.status, status)
        store.forget_results(step.pod_uid for step in status.steps if step.state not in HOLDING_STATES)
        return True

    def _follow_logs(self, status: RunStatus) -> None:
        """The log of every running pod of a step in flight is followed for its result."""
        wanted = {step.pod_uid for step in status.steps if step.state in HOLDING_STATES}
        pods = self._app.store.pods(self._run.metadata.uid)
        running = [pod for uid, pod in pods.items() if uid in wanted and pod.runs]
        self._app.followers.follow(self._run.metadata.namespace, self._run.metadata.uid, running)
