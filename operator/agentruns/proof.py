"""The proof that forged decisions are refused: policies can be missing, and no decision counts before it was seen."""

import asyncio
import logging
from typing import Any, Final

from agentruns import metrics
from agentruns.clock import utc_now
from agentruns.cluster import ApiError, Cluster
from agentruns.core.naming import API_VERSION

EVERY: Final = 60.0
LASTS: Final = 2.0
"""Seconds for which a policy once proven is taken to be in force: about each decision is proven for anew."""
_DISPROOF_LASTS: Final = 5.0
_POLICY: Final = "decisions.agentrun.dev"
_FORGERY: Final = "agentruns-policy-proof"

log = logging.getLogger(__name__)


class PolicyProof:
    """What came of the latest tries to forge a decision, by namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._proofs: dict[str, tuple[bool, float]] = {}

    async def is_enforced(self, namespace: str) -> bool:
        """Whether a forged decision is refused in this namespace: tried by a dry run, with this operator's account."""
        proven, at = self._proofs.get(namespace, (False, float("-inf")))
        now = utc_now().timestamp()
        if now - at < (LASTS if proven else _DISPROOF_LASTS):
            return proven
        proven = await self._forgery_refused(namespace)
        self._proofs[namespace] = (proven, now)
        self._tell(now)
        if not proven:
            log.error("a forged decision was not refused: no decision counts here", extra={"namespace": namespace})
        return proven

    def _tell(self, now: float) -> None:
        """Sets the metric by what was tried of late; a namespace that is gone is not tried any more."""
        self._proofs = {it: proof for it, proof in self._proofs.items() if now - proof[1] < 2 * EVERY}
        metrics.POLICY_ENFORCED.set(all(proven for proven, _ in self._proofs.values()))

    async def keep_trying(self, namespaces: tuple[str, ...]) -> None:
        """Tries the policies from time to time, so that the metric tells before a decision depends on it."""
        while True:
            for namespace in namespaces:
                try:
                    await self.is_enforced(namespace)
                except ApiError as error:
                    log.warning("the policies could not be tried: %s", error, extra={"namespace": namespace})
            await asyncio.sleep(EVERY)

    async def _forgery_refused(self, namespace: str) -> bool:
        try:
            await self._cluster.create(_forged(namespace), dry_run=True)
        except ApiError as error:
            if error.status not in (403, 422) or error.is_not_about_the_object:
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
