"""Follows the logs of running sandboxes for their result lines."""

import asyncio
import logging
from collections import Counter, deque
from typing import Final

from agentruns.clock import utc_now
from agentruns.cluster import LOG_BUFFER, Cluster
from agentruns.core.naming import SANDBOX_CONTAINER
from agentruns.core.observed import PodSeen
from agentruns.core.result_lines import ResultReader
from agentruns.store import Store

MAX_FOLLOWED: Final = 256
"""Log streams that are held open at once, at most half of them for one namespace; others are read at their end."""
LARGE: Final = 65_536
MAX_LARGE: Final = 8
"""Results of more than LARGE bytes that are read at once, since they are kept in memory until they are complete."""
BYTES_PER_SECOND: Final = 16 * 1024 * 1024
"""How fast all logs together are followed; whoever prints more waits at its node."""
AHEAD_SECONDS: Final = 0.1
"""How much of that may come at once, after some time in which less came."""

log = logging.getLogger(__name__)


class _Quota:
    """So many of something, of which one namespace has at most half."""

    def __init__(self, number: int) -> None:
        self._number, self._taken = number, Counter[str]()

    def take(self, namespace: str) -> bool:
        """Whether there was a place for this namespace, which is now taken."""
        if self._taken.total() >= self._number or self._taken[namespace] >= self._number // 2:
            return False
        self._taken[namespace] += 1
        return True

    def give_back(self, namespace: str) -> None:
        """One of its places is free again."""
        self._taken[namespace] -= 1
        if not self._taken[namespace]:
            del self._taken[namespace]


class _Pace:
    """Holds up those who read logs, so that pods that print without end do not take the whole event loop."""

    def __init__(self) -> None:
        self._due = 0.0

    async def kept(self, size: int) -> None:
        """Returns when the next piece may be read, after one of this size; others have their turn in any case."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - AHEAD_SECONDS) + size / BYTES_PER_SECOND
        await asyncio.sleep(max(self._due - now, 0))


class Followers:
    """One task for each running pod whose result is not known; none for a pod that waits for anything."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster, self._store = cluster, store
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._streams, self._large, self._pace = _Quota(MAX_FOLLOWED), _Quota(MAX_LARGE), _Pace()
        self._left = deque[str](maxlen=1024)  # the latest whose large results found no room

    def follow(self, namespace: str, run_uid: str, pods: list[PodSeen]) -> None:
        """Sees to it that the logs of these pods are being followed, but for pods whose result is known."""
        known = self._tasks.keys() | self._store.results(pod.uid for pod in pods).keys()
        for pod in pods:
            if pod.uid not in known and pod.uid not in self._left and self._streams.take(namespace):
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
                    if reader.size > LARGE and not large and not (large := self._large.take(namespace)):
                        self._left.append(pod.uid)  # it is read when the pod has ended
                        return
                    await self._pace.kept(len(data))
        except Exception as error:  # a stream that breaks is no news: the log is read again when the pod has ended
            log.debug("log stream of pod %s broke: %s", pod.uid, error)
        finally:
            if large:
                self._large.give_back(namespace)
            self._streams.give_back(namespace)
            del self._tasks[pod.uid]

    async def close(self) -> None:
        """Ends every stream."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
