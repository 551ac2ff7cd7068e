"""Finds the answers that decisions ask for: fresh reads, stored contents, costly evaluations, proofs."""

import asyncio
import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Any, Final, assert_never

from agentruns.clock import utc_now
from agentruns.cluster import APPROVALS, CONFIG_MAPS, PODS, REVISIONS, RUNS, ApiError, Cluster
from agentruns.core.digests import digest, digest_of, values_in
from agentruns.core.journal import records_in
from agentruns.core.lexing import ExpressionError
from agentruns.core.naming import JOURNAL_KEY, LABEL_RUN_UID, Key
from agentruns.core.observed import NoResult, PodSeen, ToolResult
from agentruns.core.pod_status import pod_seen
from agentruns.core.questions import (
    ClaimOf,
    Content,
    Costly,
    GivenOutput,
    JournalSegment,
    Lost,
    OfTasks,
    PinnedSpec,
    PodIsGone,
    PodsOf,
    PolicyEnforced,
    Question,
    ResultOf,
    RunNow,
    StillStored,
    Stored,
    StoredOutput,
    Validation,
    key_of,
    length_of,
)
from agentruns.core.resources import AgentRun, ToolSpec
from agentruns.core.result_lines import MAX_VALUES, parsed
from agentruns.core.tasks import Claim, read_claim
from agentruns.costly import Evaluators
from agentruns.final_logs import FinalLogs
from agentruns.fresh import is_there
from agentruns.proof import PolicyProof
from agentruns.store import Store
from agentruns.trimming import readable_run
from agentruns.turns import Places

COSTLY_SECONDS: Final = 120.0
COSTLY_BYTES: Final = 8 * 1024 * 1024
"""How much computing one decision about a run may take, and how much may come of it."""
HELD: Final = 32_000_000
HELD_OF_ONE: Final = 8_000_000
"""Characters of costly questions that are held until they are answered: in all, and of one namespace."""
QUICK: Final = 0.05
"""Seconds for which a pass waits for costly answers before others take its place."""
READING_AT_ONCE: Final = 2
"""Passes that may hold stored contents at once: each has up to 80 MB in memory, and few need any."""
_REMEMBERED: Final = 256
_REMEMBERED_BYTES: Final = 16 * 1024 * 1024
_VALUE: Final = 90
"""Bytes that a value takes in memory, at most."""


_Held = StoredOutput | JournalSegment | GivenOutput
"""Questions whose answers may take megabytes, and are kept until their pass has ended."""


class LaterError(Exception):
    """The answer is being worked out; the run is looked at again when it is there."""


class _Work:
    """What is being worked out for one decision."""

    def __init__(self) -> None:
        self.answers: dict[Hashable, asyncio.Task[Any]] = {}
        self.seconds = 0.0
        self.bytes = 0


class Answers:
    """Answers questions about runs; what cannot change is remembered."""

    def __init__(self, cluster: Cluster, store: Store, changed: Callable[[Key], None], evaluators: Evaluators) -> None:
        """`changed` is called with the key of a run for which an answer is there that it did not wait for."""
        self._cluster, self._store, self._changed = cluster, store, changed
        self._evaluators = evaluators
        self.readers = Places(READING_AT_ONCE, changed)
        self._work: dict[Key, _Work] = {}
        self._held = Counter[str]()
        self._put_off = OrderedDict[Key, None]()
        self._contents: OrderedDict[tuple[str, Question], tuple[Any, int]] = OrderedDict()
        self.logs = FinalLogs(cluster, changed)
        self.proof = PolicyProof(cluster)

    async def to(self, questions: Iterable[Question], run: AgentRun) -> dict[Question, Any]:
        """The answers to questions about a run, or to the first of them where those hold much: it may be enough."""
        costly = [it for it in questions if isinstance(it, Costly)]
        found: dict[Question, Any] = await self._costly_answers(run, costly) if costly else {}
        values = 0
        for question in questions:
            if isinstance(question, Costly):
                continue
            if isinstance(question, _Held) and not self.readers.take((run.metadata.namespace, run.metadata.name)):
                raise LaterError
            answer = found[question] = await self._answer(question, run)
            values += answer.values if isinstance(answer, Stored) else 0
            if values >= MAX_VALUES:
                break
        return found

    async def _answer(
        self,
        question: PodIsGone | ResultOf | Content | StillStored | PolicyEnforced | GivenOutput | OfTasks,
        run: AgentRun,
    ) -> Any:
        namespace, uid = run.metadata.namespace, run.metadata.uid
        match question:
            case PodIsGone():
                return not await is_there(self._cluster, self._store, PODS, (namespace, question.name), question.uid)
            case ResultOf():
                return await self._said((namespace, run.metadata.name), uid, question.uid)
            case StoredOutput() | JournalSegment() | PinnedSpec():
                return await self._remembered(namespace, question)
            case StillStored(ref):
                found = await self._found(namespace, StoredOutput(ref))
                return found if isinstance(found, Lost) else None
            case GivenOutput():
                return await self._given_output(namespace, question)
            case ClaimOf() | RunNow() | PodsOf():
                return await self._of_task(namespace, question)
            case PolicyEnforced():
                return await self.proof.is_enforced(question.namespace)
            case unreachable:
                assert_never(unreachable)

    async def _said(self, key: Key, run_uid: str, pod_uid: str) -> ToolResult | NoResult:
        """What a pod has said; LaterError if it went between look and question, or its log takes a while."""
        pod = self._store.pod(run_uid, pod_uid)
        said = await self.logs.said(key, pod) if pod else None
        if pod is None or said is None:
            raise LaterError  # either has the run looked at again
        if pod.active and isinstance(said, ToolResult):
            self._store.take_result(key[0], run_uid, pod_uid, said)
        return said

    async def _of_task(self, namespace: str, question: OfTasks) -> Any:
        match question:
            case ClaimOf(name):
                return await self._claim(namespace, name)
            case RunNow(name, uid):
                return await self._run_now(namespace, name, uid)
            case PodsOf(run_uid):
                return await self._pods(namespace, run_uid)

    async def _claim(self, namespace: str, name: str) -> Claim | Lost | None:
        found = await self._cluster.find(CONFIG_MAPS, namespace, name)
        return read_claim(found) if found else None

    async def _run_now(self, namespace: str, name: str, uid: str) -> AgentRun | None:
        found = await self._cluster.find(RUNS, namespace, name)
        return readable_run(found) if found and found["metadata"]["uid"] == uid else None

    async def _pods(self, namespace: str, run_uid: str) -> tuple[PodSeen, ...]:
        """Asked anew, though the store may know some: of what it does not know it cannot say that it has ended."""
        pods = replace(PODS, selector=f"{LABEL_RUN_UID}={run_uid}")
        return tuple([pod_seen(body) async for page, _ in self._cluster.pages(pods, namespace) for body in page])

    async def _given_output(self, namespace: str, question: GivenOutput) -> Any:
        """Read when it is needed: it may have a megabyte, and Approvals stay."""
        found = await self._cluster.get(APPROVALS, namespace, question.approval)
        if found["metadata"]["uid"] != question.uid:
            raise LaterError  # it was deleted meanwhile, which has the run looked at again
        result = parsed(json.dumps({"output": found["spec"]["decision"].get("output")}).encode(), utc_now())
        return Lost(result.invalid.replace("the result", "decision.output", 1)) if result.invalid else result.output

    # ------------------------------------------------------------------------------- what takes computing

    async def _costly_answers(self, run: AgentRun, questions: list[Costly]) -> dict[Question, Any]:
        """The answers if they are known soon; else they are worked out beside, without the pass waiting for them."""
        key = (run.metadata.namespace, run.metadata.name)
        work = self._work.setdefault(key, _Work())
        new = {key_of(question): question for question in questions if key_of(question) not in work.answers}
        self._make_room(key, sum(length_of(question) for question in new.values()))
        for name, question in new.items():
            work.answers[name] = asyncio.create_task(self._worked_out(question, key[0], work))
        tasks = [work.answers[key_of(question)] for question in questions]
        _, pending = await asyncio.wait(tasks, timeout=QUICK)
        if pending:
            asyncio.gather(*pending, return_exceptions=True).add_done_callback(lambda _: self._changed(key))
            raise LaterError
        for question, task in zip(questions, tasks, strict=True):
            if task.exception() is not None:
                del work.answers[key_of(question)]  # it is worked out anew in the next pass
        return {question: task.result() for question, task in zip(questions, tasks, strict=True)}

    def _make_room(self, key: Key, length: int) -> None:
        """Raises LaterError if there is no room for questions of this length; the run has its turn when there is."""
        mine, all_ = self._held[key[0]], self._held.total()
        if (mine and mine + length > HELD_OF_ONE) or (all_ and all_ + length > HELD):
            self._put_off[key] = None
            raise LaterError
        self._held[key[0]] += length

    def _give_room(self, namespace: str, length: int) -> None:
        self._held[namespace] -= length
        if not self._held[namespace]:
            del self._held[namespace]  # of which a Counter then says 0
        held = self._held.total()
        while self._put_off and (not held or (self._held[namespace] <= HELD_OF_ONE // 2 and held <= HELD // 2)):
            self._changed(self._put_off.popitem(last=False)[0])
            if held:
                break  # what it asks may take the room again

    async def _worked_out(self, question: Costly, namespace: str, work: _Work) -> Any:
        try:
            if work.seconds > COSTLY_SECONDS or work.bytes > COSTLY_BYTES:
                said = f"comes after {COSTLY_SECONDS:.0f} s of computing for this run; compute it in a step instead"
                return said if isinstance(question, Validation) else ExpressionError(said)
            answer, seconds = await self._evaluators.answer(question, namespace)
        finally:
            self._give_room(namespace, length_of(question))
        work.seconds += seconds
        work.bytes += len(str(answer))
        return answer

    def forget(self, key: Key) -> None:
        """What was worked out or read for a decision about this run has been used, or is of no use any more."""
        self._work.pop(key, None)
        self.logs.forget(key)

    async def close(self) -> None:
        """Ends what is being worked out, and read."""
        await self.logs.close()
        await self._evaluators.close()

    # ---------------------------------------------------------------------------------- what is remembered

    async def _remembered(self, namespace: str, question: Content) -> Any:
        """A content that its digest names, read once as long as it is remembered; or Lost, which is not."""
        place = (namespace, question)
        if place not in self._contents:
            found = await self._found(namespace, question)
            if isinstance(found, Lost):
                return found
            self._contents[place] = found
            self._forget_old()
        self._contents.move_to_end(place)
        return self._contents[place][0]

    async def _found(self, namespace: str, question: Content) -> tuple[Any, int] | Lost:
        """A content as the API server has it now, and the bytes it takes here; Lost if it is gone, or another."""
        try:
            return await self._read(namespace, question)
        except ApiError as error:
            if error.status != 404:
                raise
            return Lost(f"what is pinned by its digest is gone: {error.message}")
        except LookupError as changed:
            return Lost(str(changed))

    def _forget_old(self) -> None:
        while len(self._contents) > 1 and (
            len(self._contents) > _REMEMBERED or sum(size for _, size in self._contents.values()) > _REMEMBERED_BYTES
        ):
            self._contents.popitem(last=False)

    async def _read(self, namespace: str, question: Content) -> tuple[Any, int]:
        """A content and the bytes that it may take here; LookupError if it is not what its digest says."""
        match question:
            case StoredOutput(ref):
                found = await self._cluster.get(CONFIG_MAPS, namespace, ref.name)
                text = (found.get("data") or {}).get(ref.key, "").encode()
                _expect(digest_of(text) == ref.digest, f"ConfigMap {ref.name}")
                stored = Stored(json.loads(text), values_in(text))
                return stored, len(text) + _VALUE * stored.values
            case JournalSegment(segment):
                found = await self._cluster.get(CONFIG_MAPS, namespace, segment.name)
                written = (found.get("data") or {}).get(JOURNAL_KEY, "")
                return records_in(written, question), len(written) + _VALUE * values_in(written)
            case PinnedSpec(tool):
                found = await self._cluster.get(REVISIONS, namespace, tool.revision)
                _expect(digest(found.get("data")) == tool.digest, f"ControllerRevision {tool.revision}")
                said = str(found["data"])
                return ToolSpec.model_validate(found["data"]), len(said) + _VALUE * values_in(said)


def _expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise LookupError(f"{what} is not what was stored: its digest differs")
