"""`python -m tests.simulation.recorder`: adds how pods go on in the cluster to what is recorded of it, until Ctrl-C.

Run it beside tests on a cluster: what its nodes do is then what the simulated ones must do, too.
"""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Final

from agentruns.cluster import PODS, Cluster
from agentruns.core.naming import SANDBOX_CONTAINER

from tests.simulation.sights import GONE, Step, sight
from tests.watch import events

RECORDED: Final = Path(__file__).parent / "recorded.json"


def recorded() -> set[Step]:
    """How pods went on in clusters so far."""
    return {(before, after) for before, after in json.loads(RECORDED.read_text())}


async def record() -> None:
    """Follows every sandbox in the cluster; what is new is printed and added at once."""
    cluster, latest, known = await Cluster.connect(), dict[str, str](), recorded()
    try:
        versions = [version async for _, version in cluster.pages(PODS)]
        async for type_, pod in events(cluster, PODS, None, str(versions[-1])):
            if all(it["name"] != SANDBOX_CONTAINER for it in pod["spec"]["containers"]):
                continue  # a test's, that has but the labels
            uid, now = pod["metadata"]["uid"], GONE if type_ == "DELETED" else sight(pod)
            before, latest[uid] = latest.get(uid, now), now
            if before != now and (before, now) not in known:
                print(f"{before} -> {now}", flush=True)
                known.add((before, now))
                RECORDED.write_text(json.dumps(sorted(known), indent=1) + "\n")
    finally:
        await cluster.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(record())
