"""The latest seen objects, trimmed, by run. It never goes back in time and takes the answers of our own writes."""

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from agentruns.core.kubelet import pod_seen
from agentruns.core.naming import LABEL_RUN_UID
from agentruns.core.observed import PodSeen, ToolResult
from agentruns.core.resources import AgentRun, Approval, OversizedRun, Tool, ToolSpec

MAX_SPEC: Final = 524_288
"""Bytes of a run's spec; a larger one is refused as a whole."""

_GRAVES: Final = 20_000

log = logging.getLogger(__name__)

Key = tuple[str, str]
Body = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class _Known:
    """Where an object is kept, and in which version."""

    kind: str
    namespace: str
    version: int
    body: Body
    """Its metadata, and what else says where it belongs."""


class Store:
    """What is known of the cluster. `changed` is called with the key of every run that a change concerns."""

    def __init__(self, changed: Callable[[Key], None], tool_changed: Callable[[Key], None]) -> None:
        self._changed, self._tool_changed = changed, tool_changed
        self._known: dict[str, _Known] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self.runs: dict[Key, AgentRun] = {}
        self._keys: dict[str, Key] = {}
        self.tools: dict[Key, Tool] = {}
        self._pods: dict[str, dict[str, PodSeen]] = {}
        self._approvals: dict[str, dict[str, Approval]] = {}
        self._policies: dict[str, frozenset[str]] = {}
        self._revisions: dict[str, frozenset[str]] = {}
        self._results: dict[str, ToolResult] = {}

    # ------------------------------------------------------------------------------------------ taking in

    def take(self, kind: str, body: Body, *, gone: bool = False) -> None:
        """An object as it was listed, watched or answered, unless something newer is known of it."""
        metadata = body["metadata"]
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        known = self._known.get(uid)
        if known is not None and (version < known.version or (version == known.version and not gone)):
            return
        if uid in self._gone:
            return  # an event from before its end, told late
        self._put(kind, body, gone=gone)
        if gone:
            self._bury(uid)
        else:
            self._known[uid] = _Known(kind, metadata["namespace"], version, _place(kind, body))

    def take_list(self, kind: str, namespace: str | None, items: list[Body], version: int) -> None:
        """Everything there is of a kind; what was known of it before, and is not there, is gone."""
        for body in items:
            try:
                self.take(kind, body)
            except (ValueError, KeyError, TypeError) as error:  # one that cannot be read must not hide the others
                log.error("cannot read %s %s: %s", kind, body["metadata"]["uid"], error)
        listed = {body["metadata"]["uid"] for body in items}
        vanished = [
            uid
            for uid, known in self._known.items()
            if known.kind == kind
            and namespace in (None, known.namespace)
            and known.version <= version
            and uid not in listed
        ]
        for uid in vanished:
            self.forget(uid)

    def forget(self, uid: str) -> None:
        """The API server, asked now, has no such object any more."""
        known = self._known.get(uid)
        if known is not None:
            self._put(known.kind, known.body, gone=True)
            self._bury(uid)

    def _bury(self, uid: str) -> None:
        """Remembers for a while that this object is gone: nothing comes back under its UID."""
        self._known.pop(uid, None)
        self._gone[uid] = None
        if len(self._gone) > _GRAVES:
            self._gone.popitem(last=False)

    def take_revision(self, namespace: str, name: str) -> None:
        """A pinned Tool is known to be stored."""
        self._revisions[namespace] = self._revisions.get(namespace, frozenset()) | {name}

    def take_result(self, namespace: str, run_uid: str, pod_uid: str, result: ToolResult) -> None:
        """A result line that a running pod has printed; the first one counts."""
        self._results.setdefault(pod_uid, result)
        self._concerns(namespace, run_uid)

    def forget_results(self, pods: Iterable[str]) -> None:
        """These pods' results are recorded."""
        for uid in pods:
            self._results.pop(uid, None)

    def _put(self, kind: str, body: Body, *, gone: bool) -> None:
        match kind:
            case "AgentRun":
                self._put_run(body, gone=gone)
            case "Pod":
                self._put_pod(body, gone=gone)
            case "Approval":
                self._put_approval(body, gone=gone)
            case "Tool":
                self._put_tool(body, gone=gone)
            case "NetworkPolicy":
                self._put_policy(body, gone=gone)

    def _put_run(self, body: Body, *, gone: bool) -> None:
        key, uid = _key(body), body["metadata"]["uid"]
        if not gone:
            self.runs[key] = _run(body)
            self._keys[uid] = key
        elif self._keys.pop(uid, None) and (known := self.runs.get(key)) and known.metadata.uid == uid:
            del self.runs[key]
        self._changed(key)

    def _put_pod(self, body: Body, *, gone: bool) -> None:
        run_uid, uid = _run_uid(body), body["metadata"]["uid"]
        _set(self._pods, run_uid, uid, None if gone else pod_seen(body))
        self._concerns(body["metadata"]["namespace"], run_uid)

    def _put_approval(self, body: Body, *, gone: bool) -> None:
        run_uid, name = body["spec"]["runRef"]["uid"], body["metadata"]["name"]
        _set(self._approvals, run_uid, name, None if gone else Approval.model_validate(body))
        self._concerns(body["metadata"]["namespace"], run_uid)

    def _put_tool(self, body: Body, *, gone: bool) -> None:
        """A Tool; the runs of its namespace that have not begun look again."""
        key = _key(body)
        if gone:
            self.tools.pop(key, None)
        else:
            self.tools[key] = Tool.model_validate(body)
        self._tool_changed(key)
        for run_key, run in self.runs.items():
            if run_key[0] == key[0] and run.status.started_at is None:
                self._changed(run_key)

    def _put_policy(self, body: Body, *, gone: bool) -> None:
        namespace, name = _key(body)
        known = self._policies.get(namespace, frozenset())
        self._policies[namespace] = known - {name} if gone else known | {name}

    def _concerns(self, namespace: str, run_uid: str) -> None:
        """What belongs to a run that is not there is looked at under the UID of that run."""
        self._changed(self._keys.get(run_uid) or (namespace, run_uid))

    # ----------------------------------------------------------------------------------------- giving out

    def pods(self, run_uid: str) -> dict[str, PodSeen]:
        """The pods of a run, by UID."""
        return dict(self._pods.get(run_uid, {}))

    def approvals(self, run_uid: str) -> dict[str, Approval]:
        """The Approvals of a run, by name."""
        return dict(self._approvals.get(run_uid, {}))

    def all_approvals(self) -> list[Approval]:
        """Every Approval there is."""
        return [approval for approvals in list(self._approvals.values()) for approval in list(approvals.values())]

    def results(self, pods: Iterable[str]) -> dict[str, ToolResult]:
        """The results read so far of these pods, by UID."""
        return {uid: self._results[uid] for uid in pods if uid in self._results}

    def tools_named(self, namespace: str, names: Iterable[str]) -> dict[str, ToolSpec]:
        """Those of the named Tools that are there."""
        return {name: self.tools[namespace, name].spec for name in names if (namespace, name) in self.tools}

    def policies_in(self, namespace: str) -> frozenset[str]:
        """The names of this operator's NetworkPolicies in a namespace."""
        return self._policies.get(namespace, frozenset())

    def revisions_in(self, namespace: str) -> frozenset[str]:
        """The names of the pinned Tools known to be stored in a namespace."""
        return self._revisions.get(namespace, frozenset())


def _set(table: dict[str, dict[str, T]], outer: str, inner: str, value: T | None) -> None:
    """Sets or removes an entry of a nested table that keeps no empty rows."""
    row = table.setdefault(outer, {})
    if value is None:
        row.pop(inner, None)
    else:
        row[inner] = value
    if not row:
        del table[outer]


def _run(body: Body) -> AgentRun:
    """A run as it is kept: of a huge one only its size, since a parsed megabyte of JSON can take thirty of memory."""
    size = len(json.dumps(body.get("spec") or {}))
    if size <= MAX_SPEC:
        return AgentRun.model_validate(body)
    spec = {"steps": [], "desiredState": body["spec"].get("desiredState", "Running")}
    return OversizedRun.model_validate({**body, "spec": spec, "size": size})


def _place(kind: str, body: Body) -> Body:
    """What of an object says where it is kept, so that it can be forgotten by its UID alone."""
    metadata = body["metadata"]
    kept = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    if kind == "Pod":
        return {"metadata": kept | {"labels": {LABEL_RUN_UID: _run_uid(body)}}}
    if kind == "Approval":
        return {"metadata": kept, "spec": {"runRef": {"uid": body["spec"]["runRef"]["uid"]}}}
    return {"metadata": kept}


def _key(body: Body) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _run_uid(body: Body) -> str:
    return str((body["metadata"].get("labels") or {}).get(LABEL_RUN_UID, ""))
