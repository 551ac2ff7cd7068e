"""How a pod's node falls silent, for a while or for good, and what others then do to the pod."""

import asyncio
from collections.abc import Callable
from typing import Final

from agentruns.cluster import Body

from tests.simulation.world.stored_pod import DISRUPTED, StoredPod
from tests.simulation.world.world import World

GIVEN_UP: Final = 340.0
"""Seconds after which the pods of a node that is not heard of are deleted."""
REMOVED: Final = 3600.0
"""Seconds after which somebody deletes the Node object of a node that was never heard of again."""


class Silence:
    """Of the node of one pod."""

    def __init__(self, world: World, stored: StoredPod, waited_for: Callable[[Body], None]) -> None:
        """`waited_for` is called with the pod when somebody is about to delete its Node object."""
        self._world, self._stored, self._waited_for = world, stored, waited_for
        self._until = 0.0

    @property
    def lasts(self) -> bool:
        """Whether nothing is heard of the node for now."""
        return self._world.loop.time() < self._until

    def is_over_for(self, seconds: float) -> bool:
        """Whether the node has been heard for so long."""
        return self._world.loop.time() >= self._until + seconds

    def hears(self, usual: float) -> float:
        """Seconds until something reaches the node, or something of it the API server."""
        return max(self._until - self._world.loop.time(), 0) + self._world.delay(usual)

    async def broken(self, usual: float) -> None:
        """Returns when the node has something to say, and is heard."""
        await asyncio.sleep(self.hears(usual))
        while self.lasts:
            await asyncio.sleep(self.hears(0.3))

    def begins(self) -> None:
        """The node is cut off for a while."""
        self._until = max(self._until, self._world.loop.time() + self._world.delay(150))
        self._world.later(GIVEN_UP, self._given_up_if_it_lasts)

    def begins_for_good(self) -> None:
        """The node is never heard of again, and its Node object stays until somebody deletes it."""
        self._until = self._world.loop.time() + 2 * REMOVED
        self._world.later(GIVEN_UP, self.given_up)
        self._world.later(REMOVED, self._removed)

    def given_up(self) -> None:
        """The pod is deleted, since its node does not answer."""
        self._stored.report(conditions=[DISRUPTED])
        self._stored.delete()

    def _given_up_if_it_lasts(self) -> None:
        if self.lasts:
            self.given_up()

    def _removed(self) -> None:
        """The Node object is gone, and so is the pod."""
        if (pod := self._stored.current()) is not None:
            self._waited_for(pod)
            self._stored.collected()
