"""Pods whose run is gone: they are let go of once they are being deleted, so that nothing keeps them for ever."""

from agentruns.cluster import PODS, RUNS, ApiError, Cluster
from agentruns.core.naming import FINALIZER_RESULT
from agentruns.core.observed import PodSeen
from agentruns.queue import Key
from agentruns.store import Store


async def release_orphans(key: Key, cluster: Cluster, store: Store) -> None:
    """Takes this operator's finalizer off the deleted pods of a run, by its UID, that the API server has no more."""
    namespace, run_uid = key
    for pod in store.pods(run_uid).values():
        if pod.held and pod.deleting and await _is_gone(cluster, namespace, run_uid, pod.owner_name):
            await _release(cluster, store, namespace, pod)


async def _is_gone(cluster: Cluster, namespace: str, run_uid: str, name: str) -> bool:
    """Whether the API server, asked now, has no run of this name and UID."""
    if not name:
        return True  # `kubectl delete --cascade=orphan` took the owner away
    try:
        found = await cluster.get(RUNS, namespace, name)
    except ApiError as error:
        if error.status != 404:
            raise
        return True
    return bool(found["metadata"]["uid"] != run_uid)


async def _release(cluster: Cluster, store: Store, namespace: str, pod: PodSeen) -> None:
    place = f"/metadata/finalizers/{pod.finalizers.index(FINALIZER_RESULT)}"
    operations = [
        {"op": "test", "path": "/metadata/uid", "value": pod.uid},
        {"op": "test", "path": place, "value": FINALIZER_RESULT},
        {"op": "remove", "path": place},
    ]
    try:
        store.take("Pod", await cluster.patch(PODS, namespace, pod.name, operations))
    except ApiError as error:
        if error.status != 404:
            raise
        store.forget(pod.uid)
