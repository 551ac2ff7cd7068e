"""The rules of the API server, as far as this operator meets them; recordings of a real one hold them.

An object that was stored is never changed: every write makes a new one, so that what was given out stays as it was.
"""

import json
import marshal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jsonpatch
from agentruns.cluster import Body

GRACE: Final = 30
_STATUS_IS_APART: Final = frozenset({"agentruns", "tools", "approvals", "pods"})
_POLICY: Final = "ValidatingAdmissionPolicy 'decisions.agentrun.dev' with binding denied request: born undecided"
_KINDS: Final = {
    "agentruns": "AgentRun",
    "tools": "Tool",
    "approvals": "Approval",
    "pods": "Pod",
    "networkpolicies": "NetworkPolicy",
    "controllerrevisions": "ControllerRevision",
    "configmaps": "ConfigMap",
    "events": "Event",
}


@dataclass
class Refused(Exception):  # noqa: N818 - an answer, as the client gets it
    """The answer to a request that is not carried out."""

    code: int
    reason: str
    message: str

    def body(self) -> Body:
        """The answer as it is sent."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": self.code,
            "reason": self.reason,
            "message": self.message,
        }


@dataclass(frozen=True)
class Request:
    """One request, taken apart."""

    method: str
    plural: str
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Change:
    """What became of one object by one write: before is None if it was made, after is None if it is gone."""

    plural: str
    before: Body | None
    after: Body | None
    last: Body
    """The object as a watch tells it: with the version of this very change."""


Place = tuple[str, str, str]


def request(method: str, path: str, query: Mapping[str, str], body: Any) -> Request:
    """A request to a path of the API."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, "", "")[:3]
    return Request(method, plural, namespace, name, subresource, query, body)


class ApiServer:
    """Objects, their versions, and what may be done to them. `changed` is told every change, in order."""

    def __init__(self, now: Callable[[], datetime], unique: Callable[[], str]) -> None:
        self._now, self._unique = now, unique
        self.objects: dict[Place, Body] = {}
        self.version = 1000
        self.changed: list[Callable[[Change], None]] = []

    def answer(self, asked: Request) -> Body:
        """The answer to a request; raises Refused."""
        match asked.method:
            case "GET" if asked.name:
                return self._found(asked)
            case "GET":
                return self._listed(asked)
            case "POST":
                return self._created(asked)
            case "PUT":
                return self._put(asked)
            case "PATCH":
                return self._patched(asked)
            case "DELETE" if asked.name:
                return self._deleted(asked)
            case "DELETE":
                for body in self.all(asked.plural, asked.namespace, _selector(asked)):
                    self.delete(asked.plural, asked.namespace, body["metadata"]["name"])
                return {"kind": "PodList", "items": []}
        raise Refused(405, "MethodNotAllowed", f"{asked.method} is not allowed")

    # ------------------------------------------------------------------------------------------- reading

    def find(self, plural: str, namespace: str, name: str) -> Body | None:
        """The object, if it is there."""
        return self.objects.get((plural, namespace, name))

    def all(self, plural: str, namespace: str = "", selector: Callable[[Body], bool] | None = None) -> list[Body]:
        """Every object of a kind, everywhere if no namespace is given."""
        found = [it for (kind, space, _), it in self.objects.items() if kind == plural and namespace in ("", space)]
        return [it for it in found if selector is None or selector(it)]

    def _found(self, asked: Request) -> Body:
        found = self.find(asked.plural, asked.namespace, asked.name)
        if found is None:
            raise Refused(404, "NotFound", f'{asked.plural} "{asked.name}" not found')
        return found

    def _listed(self, asked: Request) -> Body:
        items = self.all(asked.plural, asked.namespace, _selector(asked))
        return {"kind": "List", "metadata": {"resourceVersion": str(self.version)}, "items": items}

    # ------------------------------------------------------------------------------------------- writing

    def _created(self, asked: Request) -> Body:
        made = _copy(asked.body)
        metadata = made["metadata"]
        if asked.plural == "approvals" and "decision" in made["spec"]:
            raise Refused(422, "Invalid", _POLICY)
        place = (asked.plural, asked.namespace, metadata["name"])
        if place in self.objects:
            raise Refused(409, "AlreadyExists", f'{asked.plural} "{metadata["name"]}" already exists')
        metadata |= {"uid": self._unique(), "creationTimestamp": self._seconds(), "generation": 1}
        if asked.plural in _STATUS_IS_APART:
            made.pop("status", None)
        if asked.plural == "pods":
            made["status"] = {"phase": "Pending"}
        if asked.query.get("dryRun"):
            return made
        return self._store(asked.plural, None, made)

    def _put(self, asked: Request) -> Body:
        before = self._found(asked)
        metadata = asked.body["metadata"]
        for field in ("uid", "resourceVersion"):
            if metadata.get(field) and metadata[field] != before["metadata"][field]:
                raise _conflict(asked, f"{field} is {before['metadata'][field]}, not {metadata[field]}")
        if asked.subresource:
            return self.write(asked.plural, before, {**before, "status": asked.body.get("status", {})})
        kept = {
            field: before["metadata"][field] for field in ("uid", "creationTimestamp", "generation", "resourceVersion")
        }
        after = {**_copy(asked.body), "metadata": {**asked.body["metadata"], **kept}}
        return self.write(
            asked.plural, before, {**after, **({"status": before["status"]} if "status" in before else {})}
        )

    def _patched(self, asked: Request) -> Body:
        before = self._found(asked)
        after = _copy(before)
        try:
            after = jsonpatch.apply_patch(after, asked.body, in_place=True)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise Refused(422, "Invalid", f"the server rejected our request: {error}") from error
        if asked.subresource == "status":
            after = {**before, "status": after.get("status", {})}
        elif asked.plural in _STATUS_IS_APART:
            after = {**after, "status": before.get("status", {})}
        _check_update(asked.plural, before, after)
        return self.write(asked.plural, before, after)

    def write(self, plural: str, before: Body, after: Body) -> Body:
        """The object as it is after an update; one that changes nothing is none, one that lets go of it ends it."""
        if {**after, "status": after.get("status") or None} == {**before, "status": before.get("status") or None}:
            return before
        metadata = dict(after["metadata"])
        if after.get("spec") != before.get("spec"):
            metadata["generation"] = before["metadata"]["generation"] + 1
        after = {**after, "metadata": metadata}
        if "deletionTimestamp" in metadata and not metadata.get("finalizers") and _may_go(plural, after):
            self._remove(plural, before, after)
            return after
        return self._store(plural, before, after)

    def _deleted(self, asked: Request) -> Body:
        metadata = self._found(asked)["metadata"]
        for field, wanted in ((asked.body or {}).get("preconditions") or {}).items():
            if metadata[field] != wanted:
                raise _conflict(asked, f"Precondition failed: {field} is {metadata[field]}, not {wanted}")
        grace = (asked.body or {}).get("gracePeriodSeconds")
        return self.delete(asked.plural, asked.namespace, asked.name, grace)

    def delete(self, plural: str, namespace: str, name: str, grace: int | None = None) -> Body:
        """The object after its deletion was asked for: gone, or being deleted if something holds it."""
        before = self.objects[plural, namespace, name]
        metadata = before["metadata"]
        graceful = grace != 0 and plural == "pods" and _has_to_end(before)
        if "deletionTimestamp" in metadata and (graceful or metadata.get("finalizers")):
            if grace == 0 and metadata.get("deletionGracePeriodSeconds"):
                return self.write(plural, before, {**before, "metadata": {**metadata, "deletionGracePeriodSeconds": 0}})
            return before
        if graceful or metadata.get("finalizers"):
            period = before["spec"].get("terminationGracePeriodSeconds", GRACE) if graceful else 0
            mark = {"deletionTimestamp": self._seconds(), "deletionGracePeriodSeconds": period}
            return self._store(plural, before, {**before, "metadata": {**metadata, **mark}})
        self._remove(plural, before, before)
        return before if plural == "pods" else {"kind": "Status", "status": "Success"}

    # ------------------------------------------------------------------------------------------- keeping

    def _store(self, plural: str, before: Body | None, after: Body) -> Body:
        self.version += 1
        after["metadata"]["resourceVersion"] = str(self.version)
        after = {"kind": _KINDS[plural], **after}
        self.objects[plural, after["metadata"]["namespace"], after["metadata"]["name"]] = after
        self._tell(Change(plural, before, after, after))
        return after

    def _remove(self, plural: str, before: Body, last: Body) -> None:
        self.version += 1
        last = {**last, "metadata": {**last["metadata"], "resourceVersion": str(self.version)}}
        del self.objects[plural, last["metadata"]["namespace"], last["metadata"]["name"]]
        self._tell(Change(plural, before, None, last))

    def _tell(self, change: Change) -> None:
        for told in self.changed:
            told(change)

    def _seconds(self) -> str:
        return self._now().replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _copy(body: Body) -> Body:
    """An object of its own."""
    return dict(marshal.loads(marshal.dumps(body)))


def _selector(asked: Request) -> Callable[[Body], bool] | None:
    """Whether an object has the labels that a request asks for."""
    text = asked.query.get("labelSelector", "")
    if not text:
        return None
    asked_for = [(label, wanted) for label, _, wanted in (it.partition("=") for it in text.split(","))]
    return lambda body: all(_has(body, label, wanted) for label, wanted in asked_for)


def _has(body: Body, label: str, wanted: str) -> bool:
    return (found := body["metadata"].get("labels", {}).get(label)) is not None and wanted in ("", found)


def _conflict(asked: Request, why: str) -> Refused:
    return Refused(409, "Conflict", f'Operation cannot be fulfilled on {asked.plural} "{asked.name}": {why}')


def _has_to_end(pod: Body) -> bool:
    """Whether a kubelet has to end a pod before it can go."""
    over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return bool(pod["spec"].get("nodeName")) and not over


def _may_go(plural: str, body: Body) -> bool:
    """Whether an object that is being deleted has nothing more to wait for once nobody holds it."""
    return plural != "pods" or not body["metadata"].get("deletionGracePeriodSeconds")


def _check_update(plural: str, before: Body, after: Body) -> None:
    """Refuses what a person, or the operator, may not change."""
    if after["metadata"].get("uid") != before["metadata"]["uid"]:
        raise Refused(422, "Invalid", "metadata.uid: Invalid value: field is immutable")
    if plural == "pods":
        _check_pod(before["spec"], after["spec"])
    if plural == "approvals":
        old, new = before["spec"], after["spec"]
        if old.get("decision") is not None and new.get("decision") != old["decision"]:
            raise Refused(422, "Invalid", "spec.decision: Forbidden: already decided; a decision is final")
        if {**old, "decision": None} != {**new, "decision": None}:
            raise Refused(422, "Invalid", "it is part of the question and cannot be changed")


def _check_pod(before: Body, after: Body) -> None:
    """A deadline may only come nearer, a gate only go; nothing else of a pod changes here."""
    limits = [it.get("activeDeadlineSeconds") for it in (before, after)]
    if limits[0] is not None and (limits[1] is None or limits[1] > limits[0]):
        raise Refused(422, "Invalid", "spec.activeDeadlineSeconds: Invalid value: must be less than or equal to before")
    if len(after.get("schedulingGates", [])) > len(before.get("schedulingGates", [])):
        raise Refused(422, "Invalid", "spec.schedulingGates: Invalid value: only deletion is allowed")


def encoded(body: Body) -> bytes:
    """A body as it travels."""
    return json.dumps(body).encode()
