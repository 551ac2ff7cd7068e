"""Carries out what was decided. Every action survives being done twice; what the API server answers is taken in."""

from typing import Any, assert_never

from agentruns.clock import utc_now
from agentruns.cluster import APPROVALS, PODS, RUNS, WATCHED, ApiError, Cluster, Resource, resource_of
from agentruns.core.actions import (
    Action,
    CollectPods,
    Create,
    DeletePod,
    DeleteRun,
    Preparation,
    ReleasePod,
    SetConditions,
    SettleApproval,
    StopPod,
    Ungate,
    WriteClaim,
)
from agentruns.core.collecting import with_mark
from agentruns.core.digests import digest
from agentruns.core.model import rfc3339
from agentruns.core.naming import DENY_ALL_POLICY, LABEL_UNUSED_SINCE, Key
from agentruns.core.observed import Refusal
from agentruns.core.patches import Patch, approval_settled, conditions_stated, end_now, finalizer_off, gate_off
from agentruns.core.resources import ApprovalState
from agentruns.fresh import is_there
from agentruns.store import Store

_AUTHORED = ("Pod", "ControllerRevision", "NetworkPolicy", "ConfigMap", "Approval")
"""Kinds whose content comes from people and tools, so that a refusal is about what they wrote."""


class StaleError(Exception):
    """The world has moved on since it was looked at; look again."""


class Performer:
    """Performs the actions of one run in a cluster, and lets the store know what came of them."""

    def __init__(self, cluster: Cluster, store: Store, run: Key, run_uid: str) -> None:
        self._cluster, self._store, self._run_uid = cluster, store, run_uid
        self._namespace, self._run = run

    async def __call__(self, action: Preparation | Action) -> Refusal | None:
        """Performs an action; a Refusal where the API server will not create something, whoever asks."""
        match action:
            case Create():
                return await self._create(action.manifest)
            case WriteClaim():
                return await self._write_claim(action)
            case SettleApproval():
                await self._settle(action)
            case Ungate():
                await self._patch_pod(action.pod, action.uid, gate_off(action.uid))
            case StopPod():
                await self._patch_pod(action.pod, action.uid, end_now(action.uid))
            case DeletePod():
                await self._delete_pod(action)
            case ReleasePod():
                await self._release(action)
            case CollectPods():
                await self._cluster.delete_pods(self._namespace, self._run_uid)
            case DeleteRun():
                await self._delete_run(action)
            case SetConditions():
                await self._set_conditions(action)
            case unreachable:
                assert_never(unreachable)
        return None

    async def _create(self, manifest: dict[str, Any]) -> Refusal | None:
        try:
            created = await self._cluster.create(manifest)
        except ApiError as error:
            if error.status == 409 and error.reason == "AlreadyExists":
                return await self._adopt(manifest)
            if refusal := refusal_of(manifest["kind"], error):
                return refusal
            raise
        self._take(created)
        return None

    async def _write_claim(self, action: WriteClaim) -> Refusal | None:
        """Writes a claim, unless somebody was faster: what the claim says is read again either way."""
        try:
            await (self._cluster.replace if action.replaces else self._cluster.create)(action.manifest)
        except ApiError as error:
            if error.status == 409 or (error.status == 404 and action.replaces):
                return None
            if refusal := refusal_of("ConfigMap", error):
                return refusal
            raise
        return None

    async def _adopt(self, manifest: dict[str, Any]) -> Refusal | None:
        """Takes in the object that was there already; whether it is the right one is decided from what it is."""
        name = manifest["metadata"]["name"]
        found = await self._cluster.find(resource_of(manifest), self._namespace, name)
        if found is None:
            raise StaleError(f"{manifest['kind']} {name} was there and is gone")
        if foreign := _foreign(found, manifest):
            return Refusal(f"a {manifest['kind']} {name} {foreign} is there; delete it", for_now=True)
        self._take(await self._in_use_again(found) if LABEL_UNUSED_SINCE in _labels(found["metadata"]) else found)
        return None

    async def _in_use_again(self, found: dict[str, Any]) -> dict[str, Any]:
        """The object without its mark as unused, so that whoever would have deleted it does not."""
        try:
            return await self._cluster.replace(with_mark(found, None))
        except ApiError as error:
            raise _stale_or(error) from error

    def _take(self, body: dict[str, Any]) -> None:
        if resource_of(body) in WATCHED:
            self._store.take(body["kind"], body)

    async def _settle(self, action: SettleApproval) -> None:
        """Writes the status under the version that was looked at, so that no decision slips in between."""
        decided = action.state is not ApprovalState.SUPERSEDED
        status = {"state": action.state.value} | ({"decidedAt": rfc3339(utc_now())} if decided else {})
        await self._patch_status(APPROVALS, action.name, action.uid, approval_settled(status, action.resource_version))

    async def _set_conditions(self, action: SetConditions) -> None:
        operations = conditions_stated(action.before, action.conditions, action.resource_version)
        await self._patch_status(RUNS, self._run, self._run_uid, operations)

    async def _patch_status(self, resource: Resource, name: str, uid: str, operations: Patch) -> None:
        """Patches a status under the version that was looked at; StaleError if that is not the latest."""
        try:
            patched = await self._cluster.patch(resource, self._namespace, name, operations, "status")
        except ApiError as error:
            await is_there(self._cluster, self._store, resource, (self._namespace, name), uid)
            raise _stale_or(error) from error
        self._store.take(resource.kind, patched)

    async def _patch_pod(self, name: str, uid: str, operations: Patch) -> None:
        """Patches the pod of this UID and no other. A patch that does not apply any more was done before."""
        before = self._store.pod(self._run_uid, uid)
        try:
            self._store.take("Pod", await self._cluster.patch(PODS, self._namespace, name, operations))
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            there = await self._look_at_pod(name, uid)
            if error.status == 422 and there and self._store.pod(self._run_uid, uid) == before:
                raise  # it is just as it was looked at, so this is a refusal and not a patch done before

    async def _look_at_pod(self, name: str, uid: str) -> bool:
        return await is_there(self._cluster, self._store, PODS, (self._namespace, name), uid)

    async def _release(self, action: ReleasePod) -> None:
        pod = self._store.pod(self._run_uid, action.uid)
        if pod is not None and pod.held:
            await self._patch_pod(action.pod, action.uid, finalizer_off(action.uid, pod.finalizers))

    async def _delete_pod(self, action: DeletePod) -> None:
        conditions = {"uid": action.uid, "resourceVersion": action.resource_version}
        try:
            deleted = await self._cluster.delete(PODS, self._namespace, action.pod, conditions)
        except ApiError as error:
            if await self._look_at_pod(action.pod, action.uid):
                raise _stale_or(error) from error
            return
        if deleted.get("kind") == "Pod":
            self._store.take("Pod", deleted)
        else:
            self._store.forget(action.uid)

    async def _delete_run(self, action: DeleteRun) -> None:
        conditions = {"uid": action.uid, "resourceVersion": action.resource_version}
        try:
            await self._cluster.delete(RUNS, self._namespace, self._run, conditions)
        except ApiError as error:
            if error.status != 404:
                raise _stale_or(error) from error


def refusal_of(kind: str, error: ApiError) -> Refusal | None:
    """What the API server's answer says about creating an object of a kind; None if it is not about that."""
    if error.status == 403 and "exceeded quota" in error.message:
        return Refusal(error.message, for_now=True, reason="QuotaExceeded")
    if error.is_of_a_namespace_that_ends:
        return Refusal(error.message, for_now=True)
    about = (413, 422) if kind == "Approval" else (403, 413, 422)  # which approvals are made is nobody's to forbid
    if error.is_not_about_the_object or error.status not in about or kind not in _AUTHORED:
        return None
    return Refusal(error.message, for_now=False)


def _stale_or(error: ApiError) -> Exception:
    """A conflict means: look again. Anything else is what it is."""
    return StaleError(str(error)) if error.status in (404, 409, 422) else error


def _foreign(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """How an object of the wanted name is not the wanted one; empty if it is as this operator would have made it."""
    there, want = found["metadata"], wanted["metadata"]
    if _labels(want).items() - _labels(there).items() or _owners(there) != _owners(want):
        return "of somebody else"
    exact = ("data", "immutable", "spec") if want["name"] == DENY_ALL_POLICY else ("data", "immutable")
    parts = [part for part in exact if part in wanted]
    return "with other content" if any(digest(found.get(part)) != digest(wanted[part]) for part in parts) else ""


def _labels(metadata: dict[str, Any]) -> dict[str, str]:
    return metadata.get("labels") or {}


def _owners(metadata: dict[str, Any]) -> set[str]:
    return {owner["uid"] for owner in metadata.get("ownerReferences") or []}
