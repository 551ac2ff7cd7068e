"""Follows the logs of running sandboxes for their result lines, and reads the logs of finished ones to the end."""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from agentruns.clock import utc_now
from agentruns.cluster import ApiError, Cluster
from agentruns.core.naming import SANDBOX_CONTAINER
from agentruns.core.observed import NoResult, PodSeen, ToolResult
from agentruns.core.result_lines import ResultReader, from_termination
from agentruns.store import Store

PIECE: Final = 65_536
MAX_FOLLOWED: Final = 256
"""Log streams that are held open at once; further pods are read when they have ended."""
READABLE: Final = timedelta(minutes=1)
"""For which a log that its kubelet does not give is asked for again, from the end of the container on."""
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
                while data := await stream.read(PIECE):
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


async def final_result(cluster: Cluster, namespace: str, pod: PodSeen) -> ToolResult | NoResult:
    """What a pod has said: its whole log first, its termination message where that holds no result.

    ApiError as long as the log may be read later: what cannot be read now is not lost. A pod that is given up though it
    has not ended is on a node that may never answer, so that for its log nobody waits.
    """
    reader, unread = ResultReader(pod.uid), None
    try:
        async with cluster.pod_log(namespace, pod.name, SANDBOX_CONTAINER, follow=False) as stream:
            while data := await stream.read(PIECE):
                if result := reader.feed(data, utc_now()):
                    return result
            if result := reader.feed(b"\n", utc_now()):
                return result
    except (ApiError, TimeoutError) as error:
        log.info("the log of pod %s cannot be read: %s", pod.uid, error)
        unread = error if isinstance(error, ApiError) else ApiError(0, "Unreachable", str(error))
    message = pod.end.message if pod.end else ""
    found = from_termination(message, pod.uid, complete=unread is None, now=utc_now())
    if unread and isinstance(found, NoResult) and _may_be_read_later(unread, pod):
        raise unread
    return found


def _may_be_read_later(error: ApiError, pod: PodSeen) -> bool:
    if error.status == 0:
        return not pod.active
    return error.is_trouble_of_the_server or (error.status >= 500 and _has_just_ended(pod))


def _has_just_ended(pod: PodSeen) -> bool:
    ended = pod.end.finished_at if pod.end else None
    return ended is not None and utc_now() - ended < READABLE
