"""The latest seen objects, trimmed, by run. It never goes back in time and takes the answers of our own writes."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final, TypeVar

from agentruns.core.collecting import Shared, shared
from agentruns.core.naming import LABEL_RUN_UID, Key, key_of_pods
from agentruns.core.observed import PodSeen, ToolResult
from agentruns.core.pod_status import pod_seen
from agentruns.core.records import HOLDING_STATES
from agentruns.core.resources import AgentRun, Approval, Tool, ToolSpec
from agentruns.trimming import trimmed_run, trimmed_tool

_GRAVES: Final = 20_000

log = logging.getLogger(__name__)

Body = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Known:
    """Where an object is kept, and in which version."""

    kind: str
    key: Key
    uid: str
    run_uid: str
    version: int


class Store:
    """What is known of the cluster. `changed` is called with the key of every run that a change concerns."""

    def __init__(self, changed: Callable[[Key], None], tool_changed: Callable[[Key], None]) -> None:
        self._changed, self._tool_changed = changed, tool_changed
        self._known: dict[str, _Known] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self.runs: dict[Key, AgentRun] = {}
        self._keys: dict[str, Key] = {}
        self._tasks: dict[Key, set[str]] = {}
        self.tools: dict[Key, Tool] = {}
        self._pods: dict[str, dict[str, PodSeen]] = {}
        self._active: dict[str, set[str]] = {}
        self._approvals: dict[str, dict[str, Approval]] = {}
        self._shared: dict[tuple[str, str], dict[str, Shared]] = {}
        self._results: dict[str, ToolResult] = {}

    # ------------------------------------------------------------------------------------------ taking in

    def take(self, kind: str, body: Body, *, gone: bool = False) -> None:
        """An object as it was listed, watched or answered, unless something newer is known of it."""
        new = _known(kind, body)
        old = self._known.get(new.uid)
        if old is not None and (new.version < old.version or (new.version == old.version and not gone)):
            return
        if new.uid in self._gone:
            return  # an event from before its end, told late
        if gone:
            self._drop(new)
        elif self._has_its_name(new):
            self._put(new, body)
            self._known[new.uid] = new

    def _has_its_name(self, new: _Known) -> bool:
        """Whether it is the last one so far of its name: what is told of two comes in any order.

        Only one of a kind is there at a time: the other is gone, and would take the place of this one, or its own.
        """
        named: AgentRun | Tool | None = None
        if new.kind == "AgentRun":
            named = self.runs.get(new.key)
        elif new.kind == "Tool":
            named = self.tools.get(new.key)
        if named is None or named.metadata.uid == new.uid:
            return True
        other = self._known[named.metadata.uid]
        self._drop(min(other, new, key=attrgetter("version")))
        return new.version > other.version

    def take_event(self, type_: str, body: Body) -> None:
        """What a watch tells of an object."""
        self.take(body["kind"], body, gone=type_ == "DELETED")

    def take_list(self, kind: str, namespace: str | None, uids: set[str], version: int) -> None:
        """What was known of a kind before this list of it was made, and is not in it, is gone."""
        vanished = [
            known
            for uid, known in self._known.items()
            if known.kind == kind and namespace in (None, known.key[0]) and known.version <= version and uid not in uids
        ]
        for known in vanished:
            self._drop(known)

    def forget(self, uid: str) -> None:
        """The API server, asked now, has no such object any more."""
        if known := self._known.get(uid):
            self._drop(known)

    def take_result(self, namespace: str, run_uid: str, pod_uid: str, result: ToolResult) -> None:
        """A result line that a pod has printed; the first one counts, as long as a step waits for it."""
        run = self.runs.get(self._keys.get(run_uid, ("", "")))
        waits = (
            run
            and not run.is_final
            and any(it.pod_uid == pod_uid and it.state in HOLDING_STATES for it in run.status.steps)
        )
        if waits and pod_uid in self._pods.get(run_uid, {}):
            self._results.setdefault(pod_uid, result)
            self._concerns(namespace, run_uid)

    def forget_results(self, pods: Iterable[str]) -> None:
        """These pods' results are recorded."""
        for uid in pods:
            self._results.pop(uid, None)

    def _put(self, new: _Known, body: Body) -> None:
        match new.kind:
            case "AgentRun":
                run = trimmed_run(body, self.runs.get(new.key))
                self._leave_task(new.key)
                self.runs[new.key] = run
                self._keys[new.uid] = new.key
                if run.spec.idempotency_key:
                    self._tasks.setdefault((new.key[0], run.spec.idempotency_key), set()).add(new.key[1])
                if run.is_final:
                    self._tell_task(run)
            case "Pod":
                pods, pod = self._pods.setdefault(new.run_uid, {}), pod_seen(body)
                before, pods[new.uid] = pods.get(new.uid), pod
                self._count(new, active=pod.active)
                if before and replace(before, resource_version=pod.resource_version) == pod:
                    return  # a kubelet reports much of which nothing follows
            case "Approval":
                self._approvals.setdefault(new.run_uid, {})[new.uid] = Approval.model_validate(body)
            case "Tool":
                self.tools[new.key] = trimmed_tool(body)
            case _:
                self._shared.setdefault((new.kind, new.key[0]), {})[new.uid] = shared({**body, "kind": new.kind})
        self._tell(new)

    def _count(self, pod: _Known, *, active: bool) -> None:
        row = self._active.setdefault(pod.key[0], set())
        (row.add if active else row.discard)(pod.uid)
        if not row:
            del self._active[pod.key[0]]

    def _drop(self, known: _Known) -> None:
        """The object is gone; nothing comes back under its UID for a while."""
        match known.kind:
            case "AgentRun":
                self._drop_run(known)
            case "Pod":
                _remove(self._pods, known.run_uid, known.uid)
                self._count(known, active=False)
            case "Approval":
                _remove(self._approvals, known.run_uid, known.uid)
            case "Tool":
                if (tool := self.tools.get(known.key)) and tool.metadata.uid == known.uid:
                    del self.tools[known.key]
            case _:
                _remove(self._shared, (known.kind, known.key[0]), known.uid)
        self._known.pop(known.uid, None)
        self._gone[known.uid] = None
        if len(self._gone) > _GRAVES:
            self._gone.popitem(last=False)
        self._tell(known)

    def _drop_run(self, known: _Known) -> None:
        self._keys.pop(known.uid, None)
        if (run := self.runs.get(known.key)) and run.metadata.uid == known.uid:
            self.forget_results(step.pod_uid for step in run.status.steps)
            self._leave_task(known.key)
            del self.runs[known.key]
            self._tell_task(run)
        if known.uid in self._pods:
            self._concerns(known.key[0], known.uid)  # from now on they are looked at by themselves

    def _tell(self, known: _Known) -> None:
        """Lets those look again whom a change of this object concerns."""
        match known.kind:
            case "AgentRun":
                self._changed(known.key)
            case "Pod" | "Approval":
                self._concerns(known.key[0], known.run_uid)
            case "Tool":
                self._tool_changed(known.key)
                for key in self._settled_by(known.key):
                    self._tool_changed(key)
                for key, run in self.runs.items():
                    if key[0] == known.key[0] and run.status.started_at is None:
                        self._changed(key)

    def _settled_by(self, settling: Key) -> list[Key]:
        """The Tools whose doubts this one settles."""
        mine = [(key, tool.spec.settle) for key, tool in self.tools.items() if key[0] == settling[0]]
        return [key for key, settle in mine if settle and settle.tool == settling[1]]

    def _tell_task(self, run: AgentRun) -> None:
        """Lets those look again that wait for the task of a run that is over or gone."""
        for other in self._others(run):
            if other.status.started_at is None and not other.is_final:
                self._changed((other.metadata.namespace, other.metadata.name))

    def _leave_task(self, key: Key) -> None:
        """The run of this name is none of its task any more."""
        if (run := self.runs.get(key)) and run.spec.idempotency_key:
            task = (key[0], run.spec.idempotency_key)
            self._tasks[task].discard(key[1])
            if not self._tasks[task]:
                del self._tasks[task]

    def _others(self, run: AgentRun) -> list[AgentRun]:
        """The other runs of the same task, in order of their names."""
        namespace = run.metadata.namespace
        names = self._tasks.get((namespace, run.spec.idempotency_key or ""), set()) - {run.metadata.name}
        return [self.runs[namespace, name] for name in sorted(names)]

    def _concerns(self, namespace: str, run_uid: str) -> None:
        """Whoever looks after what belongs to a run, there or not, looks again."""
        self._changed(self._keys.get(run_uid) or key_of_pods(namespace, run_uid))

    # ----------------------------------------------------------------------------------------- giving out

    def pods(self, run_uid: str) -> dict[str, PodSeen]:
        """The pods of a run, by UID."""
        return dict(self._pods.get(run_uid, {}))

    def pod(self, run_uid: str, uid: str) -> PodSeen | None:
        """One pod of a run."""
        return self._pods.get(run_uid, {}).get(uid)

    def active_pods(self, namespace: str | None = None) -> int:
        """How many pods run or may yet, in all or of one namespace."""
        rows = self._active.values() if namespace is None else [self._active.get(namespace, set())]
        return sum(map(len, rows))

    def approvals(self, run_uid: str) -> dict[str, Approval]:
        """The Approvals of a run, by name."""
        return {it.metadata.name: it for it in self._approvals.get(run_uid, {}).values()}

    def all_approvals(self) -> list[Approval]:
        """Every Approval there is."""
        return [approval for approvals in list(self._approvals.values()) for approval in list(approvals.values())]

    def results(self, pods: Iterable[str]) -> dict[str, ToolResult]:
        """The results read so far of these pods, by UID."""
        return {uid: self._results[uid] for uid in pods if uid in self._results}

    def same_task(self, run: AgentRun) -> tuple[str, ...]:
        """The names of other runs of the same task that have begun and are not over."""
        others = self._others(run)
        return tuple(it.metadata.name for it in others if it.status.started_at is not None and not it.is_final)

    def tools_named(self, namespace: str, names: Iterable[str]) -> dict[str, ToolSpec]:
        """Those of the named Tools that are there, and of the Tools that settle for them."""
        found = {name: self.tools[namespace, name].spec for name in names if (namespace, name) in self.tools}
        settling = {tool.settle.tool for tool in found.values() if tool.settle}
        return found | {name: self.tools[namespace, name].spec for name in settling if (namespace, name) in self.tools}

    def names(self, kind: str, namespace: str) -> frozenset[str]:
        """The names of shared objects of a kind, but for those marked as unused: those are as good as gone."""
        here = self._shared.get((kind, namespace), {}).values()
        return frozenset(it.name for it in here if it.unused_since is None)

    def shared(self) -> list[Shared]:
        """Everything that runs share."""
        return [it for row in self._shared.values() for it in row.values()]


def _known(kind: str, body: Body) -> _Known:
    metadata = body["metadata"]
    if kind == "Approval":
        run_uid = body["spec"]["runRef"]["uid"]
    else:
        run_uid = (metadata.get("labels") or {}).get(LABEL_RUN_UID, "") if kind == "Pod" else ""
    key = (metadata["namespace"], metadata["name"])
    return _Known(kind, key, metadata["uid"], str(run_uid), int(metadata["resourceVersion"]))


def _remove(table: dict[Any, dict[str, T]], outer: Any, inner: str) -> None:
    """Removes an entry of a nested table that keeps no empty rows."""
    row = table.get(outer, {})
    row.pop(inner, None)
    if not row:
        table.pop(outer, None)
