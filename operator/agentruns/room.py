"""Room for sandbox pods: how many may be active at once, and who goes on when one of them has ended."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from agentruns.core.naming import Key
from agentruns.core.observed import POD_LIMIT_REACHED, Refusal
from agentruns.settings import Limits
from agentruns.store import Store
from agentruns.turns import Line

_TURN: Final = "; it begins when a sandbox pod has ended and it is its turn"


class Room:
    """Who may make a pod now. Whoever may not stands in line, costs nothing, and is woken when it is its turn.

    Creations under way are counted, so that one operator never makes more pods than it may; two at once know of each
    other's only when they see them.
    """

    def __init__(self, limits: Limits, store: Store, wake: Callable[[Key], None]) -> None:
        """`wake` is called with the key of a run for which room is kept, until it is taken or left."""
        self._limits, self._store, self._wake = limits, store, wake
        self._held = Counter[str]()
        self._kept = set[Key]()
        self._line = Line()

    @contextmanager
    def for_pod(self, run: Key) -> Iterator[Refusal | None]:
        """Room for a pod of a run while it is being made; a Refusal if there is none, and the run stands in line."""
        namespace = run[0]
        if run in self._kept:
            self._kept.discard(run)
        elif full := self._full(namespace):
            self._line.join(run)
            yield Refusal(full, for_now=True, reason=POD_LIMIT_REACHED)
            return
        else:
            self._held[namespace] += 1
        try:
            yield None
        finally:
            self._give(namespace)

    def leave(self, run: Key) -> None:
        """The run wants no pod now: it stands in line no more, and what was kept for it goes to the next."""
        self._line.leave(run)
        if run in self._kept:
            self._kept.discard(run)
            self._give(run[0])

    def share(self) -> None:
        """Keeps the room there is for those who are next, and wakes them."""
        while run := self._line.next(lambda namespace: not self._full(namespace)):
            self._held[run[0]] += 1
            self._kept.add(run)
            self._wake(run)

    def _give(self, namespace: str) -> None:
        """Gives up room that was held: the pod it was for is known by now, or will not be made."""
        self._held[namespace] -= 1
        if not self._held[namespace]:
            del self._held[namespace]  # of which a Counter then says 0
        self.share()

    def _full(self, namespace: str) -> str:
        """Which limit leaves no room for one more pod of a namespace, in words; empty if none does."""
        for_all, for_one = self._limits.active_pods, self._limits.active_pods_per_namespace
        if for_one and self._store.active_pods(namespace) + self._held[namespace] >= for_one:
            return f"limits.activePodsPerNamespace of the installation, {for_one}, is reached{_TURN}"
        if for_all and self._store.active_pods() + self._held.total() >= for_all:
            return f"limits.activePods of the installation, {for_all}, is reached{_TURN}"
        return ""
