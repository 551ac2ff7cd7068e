"""A run played through: decisions are carried out on plain data, as much of them as later decisions can see."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

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
from agentruns.core.digests import values_in
from agentruns.core.expressions import evaluated
from agentruns.core.journal import records_in
from agentruns.core.lexing import ExpressionError
from agentruns.core.lifecycle import Decision, decide
from agentruns.core.observed import NoResult, Observed, PodSeen, Refusal, ToolResult
from agentruns.core.pod_status import pod_seen
from agentruns.core.questions import (
    ClaimOf,
    Costly,
    Evaluation,
    GivenOutput,
    JournalSegment,
    Lost,
    OfTasks,
    PinnedSpec,
    PodIsGone,
    PodsOf,
    PolicyEnforced,
    Question,
    ResultOf,
    RunNow,
    StillStored,
    Stored,
    StoredOutput,
    Unanswered,
    Validation,
    key_of,
)
from agentruns.core.records import RunStatus, StepStatus
from agentruns.core.resources import AgentRun, Approval, ApprovalState, ApprovalStatus, RunSpec, ToolSpec
from agentruns.core.schemas import validated
from agentruns.core.tasks import read_claim

from tests.unit.builders import IMAGE, NOW, a_run, a_tool, an_end


@dataclass
class Play:
    """One run and what it sees. `go` decides, carries out and records until there is nothing left to do now."""

    run: AgentRun
    tools: dict[str, ToolSpec] = field(default_factory=dict)
    now: datetime = NOW
    pods: dict[str, PodSeen] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)
    results: dict[str, ToolResult] = field(default_factory=dict)
    policies: frozenset[str] = frozenset()
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Everything that was created, by name."""
    refused: dict[str, Refusal] = field(default_factory=dict)
    """What the API server would refuse to create, by kind; of a claim also what it would refuse to change: `change`."""
    answers: dict[Question, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    """The output that came with the decision on an Approval, by its name."""
    done: list[Action] = field(default_factory=list)
    recorded: list[RunStatus] = field(default_factory=lambda: [RunStatus()])
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The ConfigMaps of tasks, by name; runs of one task have them in common."""
    others: list["Play"] = field(default_factory=list)
    """The other runs that are there."""
    pods_of_gone_runs: tuple[PodSeen, ...] = ()
    decision: Decision = field(init=False)

    def __post_init__(self) -> None:
        named = {step.tool: a_tool() for step in self.run.spec.steps}
        self.tools = named | self.tools

    # -------------------------------------------------------------------------------------- one pass

    def go(self, seconds: float = 0) -> "Play":
        """The same play after so many seconds, once nothing changes any more."""
        self.now += timedelta(seconds=seconds)
        for _ in range(20):
            before = (self.run.status, self.pods, self.approvals)
            self._pass()
            if before == (self.run.status, self.pods, self.approvals):
                return self
        raise AssertionError(f"the run does not come to rest: {self.run.status}")

    def _pass(self) -> None:
        refusals: dict[str, Refusal] = {}
        self._forget_tasks()
        for _ in range(50):
            self.decision = self._decided(refusals)
            if not self.decision.preparations:
                break
            for preparation in self.decision.preparations:
                self._prepare(preparation, refusals)
        assert not self.decision.preparations, "a decision prepares the same for ever"
        self.run = recorded(self.run, self.decision.status)
        self.recorded.append(self.run.status)
        for action in self.decision.actions:
            self._perform(action)

    def _decided(self, refusals: dict[str, Refusal]) -> Decision:
        for _ in range(50):
            try:
                return decide(self.run, self.look(refusals))
            except Unanswered as asked:
                self.answers |= {question: self._answer(question) for question in asked.questions}
        raise AssertionError("a decision asks for ever")

    def _forget_tasks(self) -> None:
        self.answers = {it: answer for it, answer in self.answers.items() if not isinstance(it, OfTasks | StillStored)}

    def look(self, refusals: dict[str, Refusal] | None = None) -> Observed:
        """What is there to be seen now."""
        return Observed(
            now=self.now,
            pods=dict(self.pods),
            approvals=dict(self.approvals),
            tools=dict(self.tools),
            results=dict(self.results),
            policies=self.policies,
            stored=frozenset(self.stored),
            same_task=tuple(it.run.metadata.name for it in self.others if it.is_under_way),
            refusals=refusals or {},
            answers={key_of(question): answer for question, answer in self.answers.items()},
        )

    def _answer(self, question: Question) -> Any:
        match question:
            case PinnedSpec():
                return ToolSpec.model_validate(self.stored[question.tool.revision]["data"])
            case JournalSegment():
                return records_in(self.stored[question.segment.name]["data"]["journal.json"], question)
            case StoredOutput():
                text = self.stored[question.ref.name]["data"][question.ref.key]
                return Stored(json.loads(text), values_in(text))
            case StillStored():
                return None if question.ref.name in self.stored else Lost(f"ConfigMap {question.ref.name} is gone")
            case ClaimOf() | RunNow() | PodsOf():
                return self._of_task(question)
            case ResultOf():
                return NoResult(complete=True)
            case Evaluation() | Validation():
                return _worked_out(question)
            case PodIsGone():
                return question.uid not in self.pods
            case PolicyEnforced():
                return True
            case GivenOutput():
                return self.given.get(question.approval)
            case _:
                raise AssertionError(f"nobody has an answer to {question}")

    def _of_task(self, question: OfTasks) -> Any:
        match question:
            case ClaimOf():
                return read_claim(self.claims[question.name]) if question.name in self.claims else None
            case RunNow():
                there = [self, *self.others]
                return next((it.run for it in there if it.run.metadata.uid == question.uid), None)
            case PodsOf():
                return self.pods_of_gone_runs

    def _prepare(self, preparation: Preparation, refusals: dict[str, Refusal]) -> None:
        match preparation:
            case Create():
                self._create(preparation.manifest, refusals)
            case WriteClaim():
                self._write_claim(preparation, refusals)
            case SettleApproval() | DeletePod():
                self._perform(preparation)

    def _write_claim(self, write: WriteClaim, refusals: dict[str, Refusal]) -> None:
        """As the API server does: created if nothing is there, put in the place of the version it names."""
        metadata, there = write.manifest["metadata"], self.claims.get(write.name)
        if refusal := self.refused.get("change" if write.replaces else "ConfigMap"):
            refusals[write.name] = refusal
        elif there is None and not write.replaces:
            self.claims[write.name] = {**write.manifest, "metadata": metadata | {"resourceVersion": "1"}}
        elif there and there["metadata"]["resourceVersion"] == metadata.get("resourceVersion"):
            version = str(int(metadata["resourceVersion"]) + 1)
            self.claims[write.name] = {**write.manifest, "metadata": metadata | {"resourceVersion": version}}
        self._forget_tasks()

    def _create(self, manifest: dict[str, Any], refusals: dict[str, Refusal]) -> None:
        name, kind = manifest["metadata"]["name"], manifest["kind"]
        if refusal := self.refused.get(kind):
            refusals[name] = refusal
            return
        uid = f"uid-of-{name}{'-made-again' if name in self.manifests else ''}"
        self.manifests[name] = manifest
        there = manifest["metadata"] | {"uid": uid, "resourceVersion": "1"}
        match kind:
            case "Pod":
                self.pods[there["uid"]] = pod_seen({**manifest, "metadata": there, "status": {"phase": "Pending"}})
            case "NetworkPolicy":
                self.policies |= {name}
            case "Approval":
                born = {"creationTimestamp": self.now.isoformat()}
                self.approvals[name] = Approval.model_validate({**manifest, "metadata": there | born})
            case _:
                self.stored[name] = manifest

    def _perform(self, action: Action | Preparation) -> None:
        assert not isinstance(action, Create | WriteClaim)
        self.done.append(action)
        match action:
            case Ungate():
                assert action.uid in {record.pod_uid for record in self.status.steps}, "only a recorded pod may start"
                assert not self._open_beside(self.pods[action.uid]), "an attempt begins when the one before is closed"
                self._pod(action.uid, gated=False)
            case ReleasePod():
                self._pod(action.uid, finalizers=())
            case DeletePod():
                self._pod(action.uid, deleting=True)
            case CollectPods():
                self.pods = {}
            case SettleApproval():
                status = ApprovalStatus(state=action.state, decided_at=self.now)
                settled = self.approvals[action.name].model_copy(update={"status": status})
                self.approvals = self.approvals | {action.name: settled}
            case StopPod():
                self._pod(action.uid, stopping=True)
            case DeleteRun() | SetConditions():
                pass

    def _open_beside(self, pod: PodSeen) -> list[PodSeen]:
        """Other pods of the same step that run, or may yet."""
        others = [it for it in self.pods.values() if it.step == pod.step and it.uid != pod.uid]
        waits = [it for it in others if it.end is None and it.phase not in ("Succeeded", "Failed")]
        return [it for it in waits if it.node or not (it.gated or it.deleting)]

    def _pod(self, uid: str, **fields: Any) -> None:
        """A pod changes; one that is being deleted goes once nothing holds it."""
        pod = replace(self.pods[uid], **fields)
        self.pods = {other: it for other, it in self.pods.items() if other != uid}
        if pod.deleting and not pod.finalizers:
            self.answers[PodIsGone(pod.name, uid)] = True
        else:
            self.pods[uid] = pod

    # ------------------------------------------------------------------------------- what the world does

    def starts(self, step: str) -> "Play":
        """The kubelet has started the step's pod."""
        return self._sees(step, node="node-1", phase="Running", started_at=self.now, image=IMAGE)

    def ends(self, step: str, exit_code: int = 0, **fields: Any) -> "Play":
        """The step's container has ended."""
        phase = "Failed" if exit_code else "Succeeded"
        return self._sees(step, phase=phase, end=an_end(exit_code, finished_at=self.now, **fields))

    def tears_out(self, step: str) -> "Play":
        """Somebody removes the step's pod by force: a fresh read says that it is gone."""
        gone = self.step(step)
        del self.pods[gone.pod_uid]
        self.answers[PodIsGone(gone.pod, gone.pod_uid)] = True
        return self

    def says(self, step: str, output: Any = None, **fields: Any) -> "Play":
        """The step's tool prints its result."""
        self.results[self.step(step).pod_uid] = ToolResult(self.now, output, **fields)
        return self

    def succeeds(self, step: str, output: Any = None) -> "Play":
        """The step's pod starts, says this, and ends; everything that follows now is done."""
        return self.starts(step).says(step, output).ends(step).go()

    def fails(self, step: str, exit_code: int = 65) -> "Play":
        """The step's pod starts and ends with this code; everything that follows now is done."""
        return self.starts(step).ends(step, exit_code).go()

    def _sees(self, step: str, **fields: Any) -> "Play":
        uid = self.step(step).pod_uid
        assert uid in self.pods, f"step {step} has no pod: {self.step(step)}"
        self._pod(uid, **fields)
        return self

    def decides(self, step: str, verdict: str, **fields: Any) -> "Play":
        """A person decides on what the step waits for, or the run as a whole; everything that follows now is done."""
        name = self.step(step).approval if step else self.status.waiting_for[0].name
        self.given[name] = fields.pop("output", None)
        decision = {"verdict": verdict, "by": "alice@example.com", **fields}
        body = self.approvals[name].model_dump(mode="json", by_alias=True)
        self.approvals[name] = Approval.model_validate(body | {"spec": body["spec"] | {"decision": decision}})
        return self.go()

    def wants(self, **spec: Any) -> "Play":
        """The run's author changes what may be changed; everything that follows now is done."""
        body = self.run.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.run = self.run.model_copy(update={"spec": RunSpec.model_validate(body | spec)})
        return self.go()

    # ------------------------------------------------------------------------------------ what can be read

    @property
    def is_under_way(self) -> bool:
        """Whether the run has begun and is not over."""
        return self.status.started_at is not None and not self.run.is_final

    @property
    def status(self) -> RunStatus:
        """The recorded status."""
        return self.run.status

    def step(self, name: str) -> StepStatus:
        """The record of a step."""
        return next((it for it in self.status.steps if it.name == name), StepStatus(name=name))

    def states(self) -> dict[str, str]:
        """The state of every step that is recorded."""
        return {record.name: record.state.value for record in self.status.steps}

    def condition(self, name: str) -> tuple[str, str]:
        """Status and reason of one of the run's conditions."""
        return next((it.status, it.reason) for it in self.status.conditions if it.type == name)

    def condition_message(self, name: str) -> str:
        """The message of one of the run's conditions."""
        return next(it.message for it in self.status.conditions if it.type == name)

    def pod_manifest(self, step: str) -> dict[str, Any]:
        """The manifest of the pod that is recorded for a step."""
        return self.manifests[self.step(step).pod]

    def input_of(self, step: str) -> str:
        """AGENTRUN_INPUT of the pod that is recorded for a step."""
        return str(self.pod_manifest(step)["spec"]["containers"][0]["env"][0]["value"])

    def approval_of(self, step: str) -> Approval:
        """The Approval that a step waits for, or waited for."""
        return self.approvals[self.step(step).approval]

    def approval_states(self) -> list[ApprovalState]:
        """What became of every Approval."""
        return [approval.status.state for approval in self.approvals.values()]

    def actions(self, kind: type[Action]) -> list[Any]:
        """Everything of a kind that was done so far."""
        return [action for action in self.done if isinstance(action, kind)]


def _worked_out(question: Costly) -> Any:
    if isinstance(question, Validation):
        return validated(question.schema, json.loads(question.value))
    try:
        return evaluated(question.expression, json.loads(question.environment))
    except ExpressionError as error:
        return error


def play(*steps: dict[str, Any], tools: dict[str, ToolSpec] | None = None, **spec: Any) -> Play:
    """A run of these steps, as far as it goes before its first pod starts."""
    return Play(a_run(*steps, **spec), tools or {}).go()


def recorded(run: AgentRun, status: RunStatus) -> AgentRun:
    """The run after its status was stored and read again: what JSON does not carry is lost."""
    return run.model_copy(update={"status": RunStatus.model_validate(status.body())})
