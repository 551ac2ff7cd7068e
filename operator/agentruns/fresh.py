"""Fresh reads: what the API server says now goes into the store, and absence is believed from nowhere else."""

from agentruns.cluster import Cluster, Resource
from agentruns.core.naming import Key
from agentruns.store import Store


async def is_there(cluster: Cluster, store: Store, resource: Resource, key: Key, uid: str) -> bool:
    """Whether the object of this name and UID is there now; the store knows what was found."""
    found = await cluster.find(resource, *key)
    if found is None or found["metadata"]["uid"] != uid:
        store.forget(uid)
        return False
    store.take(resource.kind, found)
    return True
