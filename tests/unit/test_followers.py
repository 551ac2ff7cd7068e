"""Following logs: a pod whose result is known has nothing more to say."""

import asyncio
from typing import cast

from agentruns.cluster import Cluster
from agentruns.results import Followers

from tests.unit.builders import NAMESPACE, RUN_UID, a_result
from tests.unit.test_store import HELD, Seen, a_pod, a_run


async def followed(world: Seen) -> int:
    """How many logs are followed of a run with one pod."""
    followers = Followers(cast(Cluster, None), world.store)
    before = len(asyncio.all_tasks())
    followers.follow(NAMESPACE, RUN_UID, list(world.store.pods(RUN_UID).values()))
    begun = len(asyncio.all_tasks()) - before
    await followers.close()
    return begun


def test_a_log_is_followed_until_its_result_is_known() -> None:
    """Else a result that is no end, as long as its process lives, is read again in every pass that it causes."""
    world = Seen().take(a_run(1, steps=[HELD]), a_pod(2))
    assert asyncio.run(followed(world)) == 1
    world.store.take_result(NAMESPACE, RUN_UID, "uid-of-pod", a_result(1))
    assert asyncio.run(followed(world)) == 0
