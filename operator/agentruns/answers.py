"""Finds the answers that decisions ask for: fresh reads, stored contents, costly evaluations, the policies' proof."""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, assert_never

from agentruns import metrics, worker
from agentruns.clock import utc_now
from agentruns.cluster import CONFIG_MAPS, PODS, REVISIONS, ApiError, Cluster
from agentruns.core.digests import digest, digest_of
from agentruns.core.naming import API_VERSION
from agentruns.core.observed import (
    Evaluation,
    Lost,
    PinnedSpec,
    PodIsGone,
    PolicyEnforced,
    Question,
    ResultOf,
    StoredOutput,
    Validation,
)
from agentruns.core.resources import AgentRun, OutputRef, PinnedTool, ToolSpec
from agentruns.results import final_result
from agentruns.store import Key, Store

PROOF_EVERY: Final = 60.0
PROOF_LASTS: Final = 2.0
"""Seconds for which a policy once proven is taken to be in force: about each decision is proven for anew."""
MAX_COSTLY: Final = 20
"""Costly questions of one run that are worked out for one decision."""
_DISPROOF_LASTS: Final = 5.0
_REMEMBERED: Final = 256
_POLICY: Final = "decisions.agentrun.dev"
_FORGERY: Final = "agentruns-policy-proof"

log = logging.getLogger(__name__)


class LostError(Exception):
    """Something that the status refers to is not there any more, or not what it was."""


class LaterError(Exception):
    """The answer is being worked out; the run is looked at again when it is there."""


class Answers:
    """Answers questions about runs; what cannot change is remembered."""

    def __init__(self, cluster: Cluster, store: Store, changed: Callable[[Key], None]) -> None:
        """`changed` is called with the key of a run whose costly question has been answered."""
        self._cluster, self._store, self._changed = cluster, store, changed
        self._costly: dict[str, dict[Question, asyncio.Task[Any]]] = {}
        self._contents: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._proofs: dict[str, tuple[bool, float]] = {}

    async def to(self, question: Question, run: AgentRun) -> Any:
        """The answer to a question about a run."""
        namespace = run.metadata.namespace
        match question:
            case PodIsGone():
                return await self._pod_is_gone(namespace, question)
            case ResultOf():
                pod = self._store.pods(run.metadata.uid)[question.uid]
                return await final_result(self._cluster, namespace, pod)
            case StoredOutput():
                return await self._remembered(namespace, question.ref.digest, self._output(namespace, question.ref))
            case PinnedSpec():
                return await self._pinned(namespace, question.tool)
            case PolicyEnforced():
                return await self.policy_enforced(question.namespace)
            case Evaluation() | Validation():
                return self._costly_answer(run, question)
            case unreachable:
                assert_never(unreachable)

    def _costly_answer(self, run: AgentRun, question: Evaluation | Validation) -> Any:
        """The answer if it is known; else it is worked out beside, without a worker of the queue waiting for it."""
        known = self._costly.setdefault(run.metadata.uid, {})
        if question not in known:
            if len(known) >= MAX_COSTLY:
                return worker.too_many(question, MAX_COSTLY)
            known[question] = asyncio.create_task(worker.answer(question))
            key = (run.metadata.namespace, run.metadata.name)
            known[question].add_done_callback(lambda _: self._changed(key))
        if not known[question].done():
            raise LaterError
        return known[question].result()

    def forget_costly(self, run: AgentRun) -> None:
        """What was worked out for a decision of this run has been used."""
        self._costly.pop(run.metadata.uid, None)

    async def _pod_is_gone(self, namespace: str, question: PodIsGone) -> bool:
        """Asks the API server itself; absence is believed only from a fresh read."""
        try:
            found = await self._cluster.get(PODS, namespace, question.name)
        except ApiError as error:
            if error.status != 404:
                raise
            return True
        if found["metadata"]["uid"] != question.uid:
            return True
        self._store.take("Pod", found)
        return False

    async def _remembered(self, namespace: str, key: str, content: Any) -> Any:
        """A content by its digest, read once as long as it is remembered."""
        place = (namespace, key)
        if place in self._contents:
            content.close()
            self._contents.move_to_end(place)
            return self._contents[place]
        self._contents[place] = await content
        if len(self._contents) > _REMEMBERED:
            self._contents.popitem(last=False)
        return self._contents[place]

    async def _pinned(self, namespace: str, tool: PinnedTool) -> ToolSpec | Lost:
        """The pinned Tool, or that it is gone: somebody deleted it, or wrote something else in its place."""
        try:
            found: ToolSpec = await self._remembered(namespace, tool.digest, self._tool(namespace, tool))
        except LostError as lost:
            return Lost(str(lost))
        except ApiError as error:
            if error.status != 404:
                raise
            return Lost(f"ControllerRevision {tool.revision}, which pins tool {tool.name}, is gone")
        return found

    async def _output(self, namespace: str, ref: OutputRef) -> Any:
        found = await self._cluster.get(CONFIG_MAPS, namespace, ref.name)
        text = (found.get("data") or {}).get(ref.key, "").encode()
        if digest_of(text) != ref.digest:
            raise LostError(f"ConfigMap {ref.name} is not what was stored: its digest differs")
        return json.loads(text)

    async def _tool(self, namespace: str, tool: PinnedTool) -> ToolSpec:
        found = await self._cluster.get(REVISIONS, namespace, tool.revision)
        if digest(found.get("data")) != tool.digest:
            raise LostError(f"ControllerRevision {tool.revision} is not what was pinned: its digest differs")
        return ToolSpec.model_validate(found["data"])

    async def policy_enforced(self, namespace: str) -> bool:
        """Whether a forged decision is refused in this namespace: tried by a dry run, with this operator's account."""
        proven, at = self._proofs.get(namespace, (False, float("-inf")))
        now = utc_now().timestamp()
        if now - at < (PROOF_LASTS if proven else _DISPROOF_LASTS):
            return proven
        proven = await self._forgery_refused(namespace)
        self._proofs[namespace] = (proven, now)
        metrics.POLICY_ENFORCED.set(all(it for it, _ in self._proofs.values()))
        if not proven:
            log.error("a forged decision was not refused: no decision counts here", extra={"namespace": namespace})
        return proven

    async def keep_proving(self, namespace: str) -> None:
        """Tries the policies from time to time, so that the metric tells before a decision depends on it."""
        while True:
            try:
                await self.policy_enforced(namespace)
            except (ApiError, OSError, TimeoutError) as error:
                log.warning("the policies could not be tried: %s", error)
            await asyncio.sleep(PROOF_EVERY)

    async def _forgery_refused(self, namespace: str) -> bool:
        try:
            await self._cluster.create(_forged(namespace), dry_run=True)
        except ApiError as error:
            if error.status not in (403, 422):
                raise  # no answer is no proof, and no disproof
            return f"ValidatingAdmissionPolicy '{_POLICY}'" in error.message
        return False


def _forged(namespace: str) -> dict[str, Any]:
    """An Approval born decided, in the name of somebody else."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Approval",
        "metadata": {"name": _FORGERY, "namespace": namespace},
        "spec": {
            "runRef": {"name": _FORGERY, "uid": _FORGERY},
            "step": "forged",
            "tool": _FORGERY,
            "purpose": "Effect",
            "digest": f"sha256:{'0' * 64}",
            "request": {"summary": "a forged decision, which must be refused"},
            "decision": {"verdict": "Approve", "by": "somebody-else"},
        },
    }
