"""The API server as the benchmark looks at it: when objects changed, and the audit log's count of writes."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from agentruns.cluster import Cluster, Resource

from tests.watch import watch

OPERATOR = "system:serviceaccount:agentruns-system:agentruns-operator"
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_TIMES = ("requestReceivedTimestamp", "stageTimestamp")


def phase_of(body: dict[str, Any]) -> str:
    """The phase of a run or of a pod."""
    return str((body.get("status") or {}).get("phase", ""))


class Moments:
    """When each object of a kind was first seen in a state, by name and state."""

    def __init__(self, cluster: Cluster, resource: Resource, namespace: str, state: Any) -> None:
        self._cluster, self._resource, self._namespace, self._state = cluster, resource, namespace, state
        self.seen: dict[tuple[str, str], float] = {}
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> "Moments":
        versions = [version async for _, version in self._cluster.pages(self._resource, self._namespace)]
        self._task = asyncio.create_task(self._follow(str(versions[-1])))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _follow(self, version: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for body in watch(self._cluster, self._resource, self._namespace, version):
                async with self._changed:
                    self.seen.setdefault((body["metadata"]["name"], self._state(body)), loop.time())
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def at(self, name: str, state: str, seconds: float = 120) -> float:
        """The loop's time at which this object was seen in this state."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: (name, state) in self.seen or self._task.done())
        if (name, state) not in self.seen:
            self._task.result()  # raises what ended the watch
        return self.seen[name, state]


def writes_since(log: Path, offset: int) -> Counter[str]:
    """The operator's writes in the audit log after an offset, by verb and resource."""
    return Counter(what for what, _ in writes(log, offset))


def writes(log: Path, offset: int) -> Iterator[tuple[str, float]]:
    """Verb and resource of each write of the operator in the audit log after an offset, and the seconds it took."""
    with log.open() as lines:
        lines.seek(offset)
        for line in lines:
            event = json.loads(line)
            ours = event["user"]["username"] == OPERATOR
            if ours and event["stage"] == "ResponseComplete" and event["verb"] in WRITES:
                place = event["objectRef"]
                begun, ended = (datetime.fromisoformat(event[it]) for it in _TIMES)
                what = "/".join(filter(None, (event["verb"], place["resource"], place.get("subresource"))))
                yield what, (ended - begun).total_seconds()
