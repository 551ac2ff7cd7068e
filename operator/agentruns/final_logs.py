"""Reads the logs of pods that have ended, or are given up, beside the passes that ask what they said.

A node may take a minute to give a log, or never give it, so nothing that others need is held meanwhile: no worker, no
connection for requests, and few of the places in which logs are read.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from weakref import WeakValueDictionary

from agentruns.clock import utc_now
from agentruns.cluster import LOG_BUFFER, LOG_TIMEOUT, ApiError, Cluster
from agentruns.core.naming import SANDBOX_CONTAINER, Key
from agentruns.core.observed import NoResult, PodSeen, ToolResult
from agentruns.core.result_lines import ResultReader, from_termination

SOON: Final = 0.05
"""Seconds for which a pass waits for a log, which mostly takes a few thousandths, before others take its place."""
READABLE: Final = timedelta(minutes=1)
"""For which a log that its kubelet does not give is asked for again, from the end of the container on."""
AT_ONCE: Final = 32
"""Logs that are read at once, of those that their nodes give."""
OF_NODE: Final = 4
OF_NAMESPACE: Final = 2
"""Logs that one node is asked for at once: in all, and for one namespace, which has its turn before it has another."""
_REMEMBERED: Final = 1024

Said = ToolResult | NoResult

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Read:
    """A log that is being read, or was, of a pod as it was seen then."""

    pod: PodSeen
    task: asyncio.Task[Said]

    def is_of(self, pod: PodSeen) -> bool:
        """Whether the pod has not come to its end since."""
        return (self.pod.active, self.pod.end) == (pod.active, pod.end)


class FinalLogs:
    """What pods have said, for the decisions that ask; kept until they are made, or for good where it is little."""

    def __init__(self, cluster: Cluster, changed: Callable[[Key], None]) -> None:
        """`changed` is called with the key of a run once a log is read that it did not wait for."""
        self._cluster, self._changed = cluster, changed
        self._reads: dict[Key, dict[str, _Read]] = {}
        self._remembered: OrderedDict[str, Said] = OrderedDict()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._asked: WeakValueDictionary[tuple[str, ...], asyncio.Semaphore] = WeakValueDictionary()

    async def said(self, key: Key, pod: PodSeen) -> Said | None:
        """What a pod of this run has said; None if that is not known soon, upon which the run is changed when it is.

        ApiError as `final_result` raises it, once; the next question has the log read anew.
        """
        if pod.uid in self._remembered:
            return self._remembered[pod.uid]
        reads = self._reads.setdefault(key, {})
        read = reads.get(pod.uid)
        if read is None or not read.is_of(pod):
            _end(read)
            read = reads[pod.uid] = _Read(pod, asyncio.create_task(self._read(key[0], pod)))
        await asyncio.wait([read.task], timeout=SOON)
        if not read.task.done():
            read.task.add_done_callback(lambda it: None if it.cancelled() else self._changed(key))
            return None
        if read.task.exception():
            del reads[pod.uid]
        return read.task.result()

    def forget(self, key: Key) -> None:
        """What was read for a decision about this run has been used, or is of no use any more."""
        for read in self._reads.pop(key, {}).values():
            _end(read)

    async def close(self) -> None:
        """Ends every read."""
        tasks = [read.task for reads in self._reads.values() for read in reads.values()]
        for key in list(self._reads):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, namespace: str, pod: PodSeen) -> Said:
        """What a pod has said, once it is the turn of its log."""
        async with self._places(OF_NAMESPACE, pod.node, namespace), self._places(OF_NODE, pod.node):
            found = await final_result(self._cluster, namespace, pod, self._at_once)
        if _is_final(found, pod):
            self._remembered[pod.uid] = found
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return found

    def _places(self, number: int, *of: str) -> asyncio.Semaphore:
        """So many places, which are there as long as anybody has one, or waits for it."""
        return self._asked.setdefault(of, asyncio.Semaphore(number))


def _end(read: _Read | None) -> None:
    if read and not read.task.cancel() and not read.task.cancelled():
        read.task.exception()  # nobody asks for it any more


def _is_final(said: Said, pod: PodSeen) -> bool:
    """Whether it is little, and no later look can find anything else: a step in doubt has it asked in every pass."""
    if isinstance(said, ToolResult):
        return bool(said.error_class or said.invalid)
    return said.complete and pod.end is not None and pod.end.known


async def final_result(cluster: Cluster, namespace: str, pod: PodSeen, places: asyncio.Semaphore) -> Said:
    """What a pod has said: its whole log first, read in one of the places; its termination message if it has no result.

    ApiError as long as the log may be read later: what cannot be read now is not lost. A pod that is given up though it
    has not ended is on a node that may never answer, so that for its log nobody waits.
    """
    reader, unread = ResultReader(pod.uid), None
    try:
        async with cluster.pod_log(namespace, pod.name, SANDBOX_CONTAINER, follow=False) as stream, places:
            while data := await stream.read(LOG_BUFFER):
                if result := reader.feed(data, utc_now()):
                    return result
                await asyncio.sleep(0)  # what has come already is read without waiting: others have their turn here
            if result := reader.feed(b"\n", utc_now()):
                return result
    except (ApiError, TimeoutError) as error:
        log.info("the log of pod %s cannot be read: %s", pod.uid, error)
        said = f"the log of pod {pod.name} does not come to its end in {LOG_TIMEOUT:.0f} s"
        unread = error if isinstance(error, ApiError) else ApiError(0, "Unreachable", said)
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
