"""Pods whose run is gone: none of them is kept for ever, and none goes on for nobody."""

from agentruns.cluster import ONLY_METADATA, RUNS, Cluster
from agentruns.core.actions import ReleasePod
from agentruns.core.aftermath import of_nobody
from agentruns.fresh import is_there
from agentruns.performing import Performer
from agentruns.store import Store


async def tidy_orphans(namespace: str, run_uid: str, cluster: Cluster, store: Store) -> None:
    """Looks after the pods of a run, by its UID, that the API server has no more."""
    perform = Performer(cluster, store, (namespace, ""), run_uid)
    pods = list(store.pods(run_uid).values())
    for pod in pods:
        # The cluster deletes a pod with an owner that is gone; this operator only lets go of it.
        deserted = pod.owner_name and pod.held and pod.deleting
        if deserted and not await is_there(cluster, store, RUNS, (namespace, pod.owner_name), run_uid):
            await perform(ReleasePod(pod.name, pod.uid))
    # From the others `kubectl delete --cascade=orphan` took the owner away.
    actions = [action for pod in pods if not pod.owner_name for action in of_nobody(pod)]
    if actions and not await _is_anywhere(cluster, store, namespace, run_uid):
        for action in actions:
            await perform(action)


async def _is_anywhere(cluster: Cluster, store: Store, namespace: str, run_uid: str) -> bool:
    """Whether a run of this UID is in the namespace now, whatever its name; the store knows what was found."""
    async for runs, _ in cluster.pages(RUNS, namespace, accept=ONLY_METADATA):
        name = next((it["metadata"]["name"] for it in runs if it["metadata"]["uid"] == run_uid), None)
        if name is not None:
            return await is_there(cluster, store, RUNS, (namespace, name), run_uid)
    return False
