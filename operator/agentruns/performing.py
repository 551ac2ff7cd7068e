"""Carries out what was decided. Every action survives being done twice; what the API server answers is taken in."""

from datetime import datetime
from typing import Any, assert_never

from agentruns.cluster import APPROVALS, PODS, RUNS, ApiError, Cluster, Resource
from agentruns.core.actions import (
    Action,
    CollectPods,
    Create,
    DeletePod,
    DeleteRun,
    Preparation,
    ReleasePod,
    SettleApproval,
    StopPod,
    Ungate,
)
from agentruns.core.digests import digest
from agentruns.core.model import rfc3339
from agentruns.core.naming import DENY_ALL_POLICY, FINALIZER_RESULT, GATE_RECORDED
from agentruns.core.observed import Refusal
from agentruns.core.resources import AgentRun
from agentruns.store import Store

_AUTHORED = ("Pod", "ControllerRevision", "NetworkPolicy", "ConfigMap")
"""Kinds whose content comes from people and tools, so that a refusal is about what they wrote."""


class StaleError(Exception):
    """The world has moved on since it was looked at; look again."""


class Performer:
    """Performs the actions of one run in a cluster, and lets the store know what came of them."""

    def __init__(self, cluster: Cluster, store: Store, run: AgentRun) -> None:
        self._cluster, self._store, self._run = cluster, store, run
        self._namespace = run.metadata.namespace

    async def __call__(self, action: Preparation | Action, now: datetime) -> Refusal | None:
        """Performs an action; a Refusal where the API server will not create something, whoever asks."""
        match action:
            case Create():
                return await self._create(action.manifest)
            case SettleApproval():
                await self._settle(action, now)
            case Ungate():
                await self._patch_pod(action.pod, action.uid, _GATE_OFF)
            case StopPod():
                await self._stop(action)
            case DeletePod():
                await self._delete_pod(action)
            case ReleasePod():
                await self._release(action)
            case CollectPods():
                await self._cluster.delete_pods(self._namespace, action.run_uid)
            case DeleteRun():
                await self._delete_run(action)
            case unreachable:
                assert_never(unreachable)
        return None

    async def _create(self, manifest: dict[str, Any]) -> Refusal | None:
        try:
            created = await self._cluster.create(manifest)
        except ApiError as error:
            if error.status == 409 and error.reason == "AlreadyExists":
                return await self._adopt(manifest)
            if error.status == 403 and "exceeded quota" in error.message:
                return Refusal(error.message, for_now=True)
            if _not_the_authors(error):
                raise
            if error.status in (403, 413, 422) and manifest["kind"] in _AUTHORED:
                return Refusal(error.message, for_now=False)
            raise
        self._take(created)
        return None

    async def _adopt(self, manifest: dict[str, Any]) -> Refusal | None:
        """Takes in the object that was there already; whether it is the right one is decided from what it is."""
        resource = Resource(manifest["apiVersion"], manifest["kind"])
        name = manifest["metadata"]["name"]
        try:
            found = await self._cluster.get(resource, self._namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            raise StaleError(f"{manifest['kind']} {name} was there and is gone") from error
        if "data" in manifest and digest(found.get("data")) != digest(manifest["data"]):
            return Refusal(f"a {manifest['kind']} {name} with other content is there; delete it", for_now=False)
        if name == DENY_ALL_POLICY and found.get("spec") != manifest["spec"]:
            return Refusal(f"a NetworkPolicy {name} that is not this operator's is there; delete it", for_now=True)
        if manifest["kind"] == "Pod" and not _owned_by(found, self._run):
            return Refusal(f"a pod {name} of another owner is there; delete it", for_now=True)
        self._take(found)
        return None

    def _take(self, body: dict[str, Any]) -> None:
        if body["kind"] == "ControllerRevision":
            self._store.take_revision(body["metadata"]["namespace"], body["metadata"]["name"])
        else:
            self._store.take(body["kind"], body)

    async def _settle(self, action: SettleApproval, now: datetime) -> None:
        """Writes the status under the version that was looked at, so that no decision slips in between."""
        status = {"state": action.state.value, "decidedAt": rfc3339(now)}
        operations: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": action.resource_version},
            {"op": "add", "path": "/status", "value": status},
        ]
        try:
            settled = await self._cluster.patch_status(APPROVALS, self._namespace, action.name, operations)
        except ApiError as error:
            await self._look_at_approval(action)
            raise _stale_or(error) from error
        self._store.take("Approval", settled)

    async def _look_at_approval(self, action: SettleApproval) -> None:
        """Takes in an Approval as it is now, or that it is gone."""
        try:
            self._store.take("Approval", await self._cluster.get(APPROVALS, self._namespace, action.name))
        except ApiError as error:
            if error.status != 404:
                raise
            self._store.forget(action.uid)

    async def _patch_pod(self, name: str, uid: str, operations: list[dict[str, Any]]) -> None:
        """Patches the pod of this UID and no other. A patch that does not apply any more was done before."""
        test = {"op": "test", "path": "/metadata/uid", "value": uid}
        before = self._store.pods(self._run.metadata.uid).get(uid)
        try:
            self._store.take("Pod", await self._cluster.patch(PODS, self._namespace, name, [test, *operations]))
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            await self._look_at_pod(name, uid)
            after = self._store.pods(self._run.metadata.uid).get(uid)
            if error.status == 422 and after is not None and after == before:
                raise  # it is just as it was looked at, so this is a refusal and not a patch done before

    async def _look_at_pod(self, name: str, uid: str) -> None:
        """Takes in a pod as it is now, or that it is gone."""
        try:
            found = await self._cluster.get(PODS, self._namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            found = None
        if found and found["metadata"]["uid"] == uid:
            self._store.take("Pod", found)
        else:
            self._store.forget(uid)

    async def _stop(self, action: StopPod) -> None:
        """Has the kubelet end the pod by its deadline: unlike a deletion that leaves the pod and its log."""
        deadline = {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1}
        await self._patch_pod(action.pod, action.uid, [deadline])

    async def _release(self, action: ReleasePod) -> None:
        pod = self._store.pods(self._run.metadata.uid).get(action.uid)
        if pod is None or not pod.held:
            return
        place = pod.finalizers.index(FINALIZER_RESULT)
        await self._patch_pod(
            action.pod,
            action.uid,
            [
                {"op": "test", "path": f"/metadata/finalizers/{place}", "value": FINALIZER_RESULT},
                {"op": "remove", "path": f"/metadata/finalizers/{place}"},
            ],
        )

    async def _delete_pod(self, action: DeletePod) -> None:
        conditions = {"uid": action.uid, "resourceVersion": action.resource_version}
        try:
            deleted = await self._cluster.delete(PODS, self._namespace, action.pod, conditions)
        except ApiError as error:
            if error.status == 404:
                self._store.forget(action.uid)
                return
            await self._look_at_pod(action.pod, action.uid)
            raise _stale_or(error) from error
        if deleted.get("kind") == "Pod":
            self._store.take("Pod", deleted)
        else:
            self._store.forget(action.uid)

    async def _delete_run(self, action: DeleteRun) -> None:
        conditions = {"uid": action.uid, "resourceVersion": action.resource_version}
        try:
            await self._cluster.delete(RUNS, self._namespace, self._run.metadata.name, conditions)
        except ApiError as error:
            if error.status != 404:
                raise _stale_or(error) from error


_GATE_OFF = [
    {"op": "test", "path": "/spec/schedulingGates/0/name", "value": GATE_RECORDED},
    {"op": "remove", "path": "/spec/schedulingGates"},
]


def _not_the_authors(error: ApiError) -> bool:
    """Whether a refusal says nothing about the object: our rights, or a namespace that is just being made or ended."""
    ours = (
        "cannot create resource",
        'serviceaccount "default" not found',
        "being terminated",
        "status unknown for quota",
    )
    return error.status == 403 and any(it in error.message for it in ours)


def _stale_or(error: ApiError) -> Exception:
    """A conflict means: look again. Anything else is what it is."""
    return StaleError(str(error)) if error.status in (404, 409, 422) else error


def _owned_by(pod: dict[str, Any], run: AgentRun) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner["uid"] == run.metadata.uid for owner in owners)
