"""The custom resources as frozen models: what a person wrote, what was recorded. `crds/` is the published form."""

from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import Field

from agentruns.core.model import Condition, Duration, Metadata, Model, Shown, Status, Timestamp, Unread
from agentruns.core.naming import API_VERSION, is_settle_call

FORMAT_VERSION: Final = 2
"""The latest form of `status` that this release reads. It writes it where there is a journal, of which 1 knows nothing:
to a release that reads no other, steps in the journal would not have begun."""


class Effect(StrEnum):
    """What a second execution of a tool does to the world; it decides everything about repetition."""

    READ_ONLY = "ReadOnly"
    IDEMPOTENT = "Idempotent"
    NON_IDEMPOTENT = "NonIdempotent"


class Phase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    AWAITING_APPROVAL = "AwaitingApproval"
    PAUSED = "Paused"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


FINAL_PHASES: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})


class StepState(StrEnum):
    PENDING = "Pending"
    AWAITING_APPROVAL = "AwaitingApproval"
    PREPARED = "Prepared"
    RUNNING = "Running"
    WAITING = "Waiting"
    IN_DOUBT = "InDoubt"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"


FINAL_STATES: Final = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED})
IN_FLIGHT_STATES: Final = frozenset({StepState.PREPARED, StepState.RUNNING})
HOLDING_STATES: Final = IN_FLIGHT_STATES | {StepState.IN_DOUBT}
"""States of steps whose recorded pod may still have something to say."""


SETTLING: Final = "Settling"
"""The reason of a step in doubt whose settle tool is asked, or will be once the attempt has ended."""
SETTLING_EARLY: Final = "SettlingEarly"
"""The same, where the attempt was past its hard end but not closed when that tool was asked: only a yes counts."""


class EffectState(StrEnum):
    """What is known of a step's effect on the world. A step that only reads has none."""

    NONE = ""
    DONE = "Done"
    MAY_BE_DONE = "MayBeDone"


# ---------------------------------------------------------------------------------------------- AgentRun


class Verification(Model):
    expression: str
    message: str = ""


class Step(Model):
    name: str
    tool: str
    args: dict[str, Any] = {}
    when: str = ""
    why: str = ""
    needs: tuple[str, ...] = ()
    approval: Literal["Inherit", "Always"] = "Inherit"
    timeout: Duration | None = None
    on_failure: Literal["Fail", "Continue"] = "Fail"
    verify: tuple[Verification, ...] = ()


class RunSpec(Model):
    goal: str = ""
    input: dict[str, Any] = {}
    order: Literal["Sequence", "Graph"] = "Sequence"
    steps: tuple[Step, ...]
    output: dict[str, Any] = {}
    idempotency_key: str | None = None
    parallelism: int = 10
    deadline: Duration | None = None
    desired_state: Literal["Running", "Paused", "Cancelled"] = "Running"
    ttl_after_finished: Duration | None = None
    requested_by: str = ""


class OutputRef(Model):
    name: str
    key: str
    digest: str
    bytes: int


class RecordedDecision(Model):
    """A person's decision as the run keeps it; it outlives the Approval."""

    verdict: str
    by: str = ""
    at: Timestamp
    reason: str = ""
    digest: str


class StepStatus(Model):
    name: str
    state: StepState = StepState.PENDING
    effect_state: EffectState = EffectState.NONE
    reason: str = ""
    message: str = ""
    attempt: int = 0
    epoch: int = 0
    asked_anew: int = Field(0, exclude_if=lambda count: count == 0)
    idempotency_key: str = ""
    input_digest: str = ""
    pod: str = ""
    pod_uid: str = Field("", alias="podUID")
    image: str = ""
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    next_attempt_at: Timestamp | None = None
    output: Any = None
    output_ref: OutputRef | None = None
    approval: str = ""
    shown_digest: str = ""
    decision: RecordedDecision | None = None

    @property
    def is_settle_call(self) -> bool:
        """Whether this is no step of the spec, but the call that settles a doubt about one."""
        return is_settle_call(self.name)

    @property
    def is_settling(self) -> bool:
        """Whether this step is in doubt and no person is asked yet, since its settle tool may tell."""
        return self.state is StepState.IN_DOUBT and self.reason in (SETTLING, SETTLING_EARLY)


class PinnedTool(Model):
    name: str
    revision: str
    digest: str


class Segment(Model):
    """Where records of finished steps are kept that the status does not carry any more; `steps` are their places."""

    name: str
    digest: str
    steps: str
    done: int


class WaitingFor(Model):
    kind: str
    name: str
    step: str = ""
    since: Timestamp | None = None


class RunStatus(Status):
    observed_generation: int = 0
    format_version: int = 1
    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    progress: str = ""
    waiting_for: tuple[WaitingFor, ...] = ()
    waiting: str = ""
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    active_seconds: int = 0
    active_since: Timestamp | None = None
    conditions: tuple[Condition, ...] = ()
    tools: tuple[PinnedTool, ...] = ()
    approval: str = ""
    shown_digest: str = ""
    decision: RecordedDecision | None = None
    asked_anew: int = Field(0, exclude_if=lambda count: count == 0)
    journal: tuple[Segment, ...] = ()
    steps: tuple[StepStatus, ...] = ()
    output: Any = None


class AgentRun(Model):
    metadata: Metadata
    spec: RunSpec
    status: RunStatus = RunStatus()

    @property
    def is_final(self) -> bool:
        """Whether nothing of the record may change any more."""
        return self.status.phase in FINAL_PHASES


class OversizedRun(AgentRun):
    """A run whose spec is too large to be kept in memory: only how large it is, in words, is known."""

    size: str


def owner(run: AgentRun) -> dict[str, Any]:
    """The owner reference to a run; what it owns goes with it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentRun",
        "name": run.metadata.name,
        "uid": run.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


# ---------------------------------------------------------------------------------------------- Tool


class Retry(Model):
    attempts: int = 3
    initial_backoff: Duration = timedelta(seconds=1)
    max_backoff: Duration = timedelta(seconds=60)


class Settle(Model):
    tool: str
    happened: str
    after: Duration = timedelta(seconds=30)


class ToolSpec(Model):
    description: str
    image: str
    command: tuple[str, ...] = ()
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] = {}
    effect: Effect = Effect.NON_IDEMPOTENT
    approval: Literal["Never", "Always", "Unless"] | None = None
    approval_unless: str = ""
    approval_summary: str = ""
    settle: Settle | None = None
    timeout: Duration = timedelta(minutes=5)
    retry: Retry = Retry()
    env: tuple[dict[str, Any], ...] = ()
    egress: tuple[dict[str, Any], ...] = ()
    resources: dict[str, dict[str, Any]] = {}
    runtime_class_name: str = ""

    @property
    def asks(self) -> Literal["Never", "Always", "Unless"]:
        """When this tool asks a person: reading never does by default, anything else always."""
        return self.approval or ("Never" if self.effect is Effect.READ_ONLY else "Always")

    @property
    def secret_names(self) -> list[str]:
        """The Secrets that the tool's environment reads, each once, in order of names."""
        sources = (variable.get("valueFrom") or {} for variable in self.env)
        return sorted({source["secretKeyRef"]["name"] for source in sources if source.get("secretKeyRef")})


class OversizedToolSpec(ToolSpec):
    """A Tool that is too large to be kept in memory: only how large it is, in words, is known."""

    size: str


class ToolStatus(Status):
    observed_generation: int = 0
    approval: str = ""
    conditions: tuple[Condition, ...] = ()


class Tool(Model):
    metadata: Metadata
    spec: ToolSpec
    status: ToolStatus = ToolStatus()


# ---------------------------------------------------------------------------------------------- Approval


class Decision(Model):
    verdict: str
    by: str = ""
    digest: str | None = None
    reason: str = ""
    output: Unread = None


class RunRef(Model):
    name: str
    uid: str


class ApprovalSpec(Model):
    run_ref: RunRef
    step: str = ""
    tool: str = ""
    purpose: Literal["Effect", "InDoubt"]
    digest: str
    request: Shown
    decision: Decision | None = None


class ApprovalState(StrEnum):
    PENDING = "Pending"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    SETTLED = "Settled"
    SUPERSEDED = "Superseded"


class ApprovalStatus(Model):
    state: ApprovalState = ApprovalState.PENDING
    decided_at: Timestamp | None = None


class Approval(Model):
    metadata: Metadata
    spec: ApprovalSpec
    status: ApprovalStatus = ApprovalStatus()
