"""`make bench`: prints a Markdown table of figures."""

import asyncio
import sys

from agentruns.cluster import Cluster

from tests.bench import kubelet, scale


async def main() -> None:
    """Measures and prints, all of it or only the parts that are named."""
    cluster = await Cluster.connect()
    parts = {"kubelet": kubelet.measured, "scale": scale.measured}
    print("| what | measured | how |\n| --- | --- | --- |")
    for name in sys.argv[1:] or parts:
        await parts[name](cluster)
    await cluster.close()


if __name__ == "__main__":
    asyncio.run(main())
