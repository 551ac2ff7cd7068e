"""What is recorded of a run and its steps: the models of its status, and the words that they use."""

from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from agentruns.core.model import Condition, Model, Status, Timestamp
from agentruns.core.naming import is_settle_call

FORMAT_VERSION: Final = 2
"""The latest form of `status` that this release reads. It writes it where there is a journal, of which 1 knows nothing:
to a release that reads no other, steps in the journal would not have begun."""


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
