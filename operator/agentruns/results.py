"""Follows the logs of running sandboxes for their result lines."""

import asyncio
import logging
from typing import Final

from agentruns.clock import utc_now
from agentruns.cluster import LOG_BUFFER, Cluster
from agentruns.core.naming import SANDBOX_CONTAINER
from agentruns.core.observed import PodSeen
from agentruns.core.result_lines import ResultReader
from agentruns.store import Store

MAX_FOLLOWED: Final = 256
"""Log streams that are held open at once; further pods are read when they have ended."""
LARGE: Final = 65_536
MAX_LARGE: Final = 8
"""Results of more than LARGE bytes that are read at once, since they are kept in memory until they are complete."""

log = logging.getLogger(__name__)


class Followers:
    """One task for each running pod whose result is not known; none for a pod that waits for anything."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster, self._store = cluster, store
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(MAX_LARGE)

    def follow(self, namespace: str, run_uid: str, pods: list[PodSeen]) -> None:
        """Sees to it that the logs of these pods are being followed, but for pods whose result is known."""
        known = self._tasks.keys() | self._store.results(pod.uid for pod in pods).keys()
        for pod in pods:
            if pod.uid not in known and len(self._tasks) < MAX_FOLLOWED:
                self._tasks[pod.uid] = asyncio.create_task(self._follow(namespace, run_uid, pod))

    async def _follow(self, namespace: str, run_uid: str, pod: PodSeen) -> None:
        """Reads until the result line, or the end of the stream, which by itself means nothing."""
        reader, large = ResultReader(pod.uid), False
        try:
            async with self._cluster.pod_log(namespace, pod.name, SANDBOX_CONTAINER, follow=True) as stream:
                while data := await stream.read(LOG_BUFFER):
                    if result := reader.feed(data, utc_now()):
                        self._store.take_result(namespace, run_uid, pod.uid, result)
                        return
                    if reader.size > LARGE and not large:
                        large = await self._room.acquire()
        except Exception as error:  # a stream that breaks is no news: the log is read again when the pod has ended
            log.debug("log stream of pod %s broke: %s", pod.uid, error)
        finally:
            if large:
                self._room.release()
            del self._tasks[pod.uid]

    async def close(self) -> None:
        """Ends every stream."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
