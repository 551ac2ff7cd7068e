"""Fresh reads: what the API server says now goes into the store, and absence is believed from nowhere else."""

from agentruns.cluster import ApiError, Cluster, Resource
from agentruns.core.naming import Key
from agentruns.store import Store


async def is_there(cluster: Cluster, store: Store, resource: Resource, key: Key, uid: str) -> bool:
    """Whether the object of this name and UID is there now; the store knows what was found."""
    try:
        found = await cluster.get(resource, *key)
    except ApiError as error:
        if error.status != 404:
            raise
        store.forget(uid)
        return False
    if found["metadata"]["uid"] != uid:
        store.forget(uid)
        return False
    store.take(resource.kind, found)
    return True
