"""One sweep, old tasks included, as if it were later: python3 -m tests.integration.one_sweep NAMESPACE HOURS."""

import asyncio
import sys
from datetime import timedelta

from agentruns.clock import utc_now
from agentruns.cluster import Cluster
from agentruns.collecting import forget_tasks, sweep
from agentruns.listing import list_everything
from agentruns.settings import Settings
from agentruns.store import Store


async def main(namespace: str, hours: int) -> None:
    """Lists the namespace and sweeps it."""
    cluster = await Cluster.connect()
    try:
        store = Store(lambda _: None, lambda _: None)
        await list_everything(cluster, store, (namespace,))
        now = utc_now() + timedelta(hours=hours)
        await sweep(cluster, store, now)
        await forget_tasks(cluster, (namespace,), Settings().claim_retention, now)
    finally:
        await cluster.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
