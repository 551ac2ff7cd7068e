"""Leads or stands by: one of several operators holds the Lease, renews it, and ends with it."""

import asyncio
import logging
import os
from typing import Any, Final, NoReturn, Self

from agentruns.clock import utc_now
from agentruns.cluster import LEASES, ApiError, Cluster
from agentruns.core.lease import (
    RENEW_DEADLINE,
    Candidate,
    LeaseSpec,
    Move,
    Watched,
    next_move,
    released,
    taken,
    watched,
)

LEASE: Final = "agentruns-operator"
RETRY_SECONDS: Final = 2.0
"""Between looks at the Lease, and between renewals."""
RELEASE_SECONDS: Final = 5.0
"""For letting the Lease go: a stop has to end in time, with an API server or without."""

log = logging.getLogger(__name__)


class Leadership:
    """This process' part in the Lease of a namespace."""

    def __init__(self, cluster: Cluster, namespace: str, identity: str) -> None:
        self._cluster, self._namespace, self._identity = cluster, namespace, identity
        self._lease: Watched | None = None
        self._renewed: float | None = None

    @classmethod
    async def connect(cls, namespace: str, identity: str) -> Self:
        """With connections of its own: a renewal waits for nothing that passes wait for."""
        return cls(await Cluster.connect(), namespace, identity)

    async def acquired(self) -> None:
        """Returns once this process leads."""
        while self._renewed is None:
            await self._try()
            if self._renewed is None:
                await asyncio.sleep(RETRY_SECONDS)
        log.info("leads as %s", self._identity)

    async def keep(self) -> NoReturn:
        """Renews the Lease for ever; ends the process if that fails for too long, or once somebody else holds it."""
        while self._renewed is not None:
            try:
                async with asyncio.timeout_at(self._renewed + RENEW_DEADLINE):
                    await asyncio.sleep(RETRY_SECONDS)
                    await self._try()
            except TimeoutError:
                _end(f"the Lease could not be renewed for {RENEW_DEADLINE:.0f} s")
        raise AssertionError("only a leader renews")

    async def release(self) -> None:
        """Lets the Lease go if it is this process', so that another one need not wait until it has run out."""
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                found = await self._found()
                if found and _spec(found).holder_identity == self._identity:
                    await self._cluster.replace(found | {"spec": found["spec"] | released(utc_now())})
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease was not released, and runs out by itself: %s", error)
        finally:
            await self._cluster.close()

    async def _try(self) -> None:
        """Looks at the Lease once and takes or renews it if it may be; no answer is no harm before the deadline."""
        try:
            sent = _now()
            found = await self._found()
            self._lease = watched(self._lease, _spec(found) if found else None, _now())
            move = next_move(self._lease, Candidate(self._identity, self._renewed), _now())
            if move is Move.TAKE:
                await self._take(found)
                self._renewed = sent
        except ApiError as error:
            log.warning("the Lease could not be looked at or taken: %s", error)
            return
        if move is Move.END:
            _end(f"the Lease is held by {self._lease.spec and self._lease.spec.holder_identity}")

    async def _found(self) -> dict[str, Any] | None:
        return await self._cluster.find(LEASES, self._namespace, LEASE)

    async def _take(self, found: dict[str, Any] | None) -> None:
        """Writes the Lease under the version it was found in; a conflict means that somebody else was there first."""
        spec = taken(_spec(found) if found else None, self._identity, utc_now())
        if found:
            await self._cluster.replace(found | {"spec": (found.get("spec") or {}) | spec})
            return
        metadata = {"name": LEASE, "namespace": self._namespace}
        await self._cluster.create(
            {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
        )


def _spec(body: dict[str, Any]) -> LeaseSpec:
    return LeaseSpec.model_validate(body.get("spec") or {})


def _now() -> float:
    """The event loop's clock, which is monotonic, goes on while the process is stopped, and is that of time-outs."""
    return asyncio.get_running_loop().time()


def _end(why: str) -> NoReturn:
    """Ends the process without a further line of its program: nothing of a leader that is none goes on."""
    log.critical("leads no more, and ends: %s", why)
    os._exit(1)
