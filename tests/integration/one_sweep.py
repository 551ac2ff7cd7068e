"""One sweep of a namespace, as if it were later: python3 -m tests.integration.one_sweep NAMESPACE HOURS."""

import asyncio
import sys
from datetime import timedelta

from agentruns.clock import utc_now
from agentruns.cluster import Cluster
from agentruns.collecting import sweep
from agentruns.listing import list_everything
from agentruns.store import Store


async def main(namespace: str, hours: int) -> None:
    """Lists the namespace and sweeps it."""
    cluster = await Cluster.connect()
    try:
        store = Store(lambda _: None, lambda _: None)
        await list_everything(cluster, store, (namespace,))
        await sweep(cluster, store, utc_now() + timedelta(hours=hours))
    finally:
        await cluster.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
