"""Pods whose run is gone: they are let go of once they are being deleted, so that nothing keeps them for ever."""

from agentruns.cluster import RUNS, Cluster
from agentruns.core.actions import ReleasePod
from agentruns.core.naming import Key
from agentruns.fresh import is_there
from agentruns.performing import Performer
from agentruns.store import Store


async def release_orphans(key: Key, cluster: Cluster, store: Store) -> None:
    """Takes this operator's finalizer off the deleted pods of a run, by its UID, that the API server has no more."""
    namespace, run_uid = key
    for pod in store.pods(run_uid).values():
        if not (pod.held and pod.deleting):
            continue
        # Without a name `kubectl delete --cascade=orphan` took the owner away.
        if pod.owner_name and await is_there(cluster, store, RUNS, (namespace, pod.owner_name), run_uid):
            continue
        await Performer(cluster, store, (namespace, pod.owner_name), run_uid)(ReleasePod(pod.name, pod.uid))
