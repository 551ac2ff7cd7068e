"""The custom resources as frozen models; `crds/` is their published form."""

from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from agentruns.core.model import Condition, Duration, Metadata, Model, Shown, Status, Timestamp, Unread
from agentruns.core.naming import API_VERSION
from agentruns.core.records import FINAL_PHASES, RunStatus


class Effect(StrEnum):
    """What a second execution of a tool does to the world; it decides everything about repetition."""

    READ_ONLY = "ReadOnly"
    IDEMPOTENT = "Idempotent"
    NON_IDEMPOTENT = "NonIdempotent"


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
