"""The node on one processor, and the control plane with the operator on the other, as if on different machines.

Else what a kubelet can do is what is left of the processors, and every request of anybody takes some of that.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.bench.process import operators
from tests.cluster import processes

_NODE: Final = {"kubelet", "containerd"}


@contextmanager
def apart() -> Iterator[None]:
    """What the node starts meanwhile, sandboxes above all, is on the node's processor too."""
    everywhere = os.sched_getaffinity(0)
    if len(everywhere) < 2:
        raise LookupError("this takes two processors: one for the node, one for all else")
    *others, last = sorted(everywhere)
    recorded = {name: pid for name, pid in processes.recorded().items() if pid is not None}
    node = [pid for name, pid in recorded.items() if name in _NODE]
    rest = [pid for name, pid in recorded.items() if name not in _NODE]
    _put([os.getpid(), *rest, *operators()], set(others))
    _put(node, {last})
    try:
        yield
    finally:
        _put([os.getpid(), *recorded.values(), *operators()], everywhere)


def _put(pids: Iterable[int], processors: set[int]) -> None:
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):  # one that has just ended
                os.sched_setaffinity(int(thread.name), processors)
