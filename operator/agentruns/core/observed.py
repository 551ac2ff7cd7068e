"""What can be seen of a run from outside, as data, and the questions a decision may ask of the world.

A decision that needs a fact it was not given raises `Unanswered`. The shell finds the answer and decides anew, so
deciding stays free of I/O while a file, a fresh read or a costly evaluation is fetched only when it matters.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from agentruns.core.digests import fingerprint
from agentruns.core.model import Strict
from agentruns.core.naming import FINALIZER_RESULT
from agentruns.core.records import OutputRef, PinnedTool, Segment
from agentruns.core.resources import Approval, ToolSpec

T = TypeVar("T")
POD_LIMIT_REACHED: Final = "PodLimitReached"
"""The reason of a step that waits for its turn to have a pod, and is told when that has come."""
ASKED_AT_ONCE: Final = 4_000_000
"""Characters of costly questions that are held at once."""


@dataclass(frozen=True)
class ContainerEnd:
    """How a container ended, as its kubelet reported it; `known` is False where the kubelet had lost sight of it."""

    exit_code: int
    reason: str
    message: str
    known: bool
    created: bool
    """Whether its kubelet ever created the container."""
    finished_at: datetime | None


@dataclass(frozen=True)
class PodSeen:
    """A sandbox pod, trimmed to what decisions read."""

    name: str
    uid: str
    step: str
    attempt: int
    epoch: int
    input_digest: str
    owner_uid: str
    owner_name: str
    resource_version: str
    not_after: datetime
    gated: bool
    finalizers: tuple[str, ...]
    deleting: bool
    node: str
    phase: str
    reason: str
    message: str
    image: str
    started_at: datetime | None
    waiting_reason: str
    waiting_message: str
    end: ContainerEnd | None
    restarted: bool
    """Whether its kubelet has lost a container of it: one has run that nothing is known of."""
    disrupted: bool

    @property
    def held(self) -> bool:
        """Whether this operator's finalizer keeps the pod until its result is recorded."""
        return FINALIZER_RESULT in self.finalizers

    @property
    def active(self) -> bool:
        """Whether it runs or may yet, and so counts towards the limits on active pods."""
        return self.end is None and self.phase not in ("Succeeded", "Failed")

    @property
    def begun(self) -> bool:
        """Whether its kubelet ever reported a container as created."""
        return self.restarted or self.started_at is not None or (self.end is not None and self.end.created)


@dataclass(frozen=True)
class ToolResult:
    """What a tool said of one attempt: an output, an error of a class, or why its result cannot be used."""

    at: datetime
    output: Any = None
    error_class: str = ""
    message: str = ""
    retry_after: float | None = None
    invalid: str = ""


@dataclass(frozen=True)
class NoResult:
    """A finished pod whose whole log was read (`complete`), or could not be, and held no result line."""

    complete: bool
    promised: str = ""
    """The digest its termination message names of a result that was printed but is not to be found."""
    invalid: str = ""


@dataclass(frozen=True)
class PodIsGone:
    """Does the API server, asked now, have no pod of this name and UID? Answered by bool."""

    name: str
    uid: str


@dataclass(frozen=True)
class ResultOf:
    """What did this pod say, finished or given up? Answered by ToolResult or NoResult."""

    uid: str


@dataclass(frozen=True)
class StoredOutput:
    """What is the content of this output? Answered by the value, its digest checked, or by Lost."""

    ref: OutputRef


@dataclass(frozen=True)
class StillStored:
    """Has the API server, asked now, this output as its digest says? Answered by None, or by Lost."""

    ref: OutputRef


@dataclass(frozen=True)
class JournalSegment:
    """Which records are in this segment of a journal? Answered by a tuple of StepStatus, or by Lost."""

    segment: Segment
    previous: str
    """The digest of the segment before, which it names; empty for the first."""


@dataclass(frozen=True)
class Lost:
    """The answer that something the status refers to is not there any more, or not what it was."""

    message: str


@dataclass(frozen=True)
class PinnedSpec:
    """What does this pinned revision of a Tool say? Answered by ToolSpec, its digest checked, or by Lost."""

    tool: PinnedTool


@dataclass(frozen=True)
class PolicyEnforced:
    """Does the API server, asked of late, refuse a forged decision in this namespace? Answered by bool."""

    namespace: str


@dataclass(frozen=True)
class Evaluation:
    """What is the value of this CEL expression? Both are text: what is costly is evaluated where it can be stopped."""

    expression: str
    environment: str


@dataclass(frozen=True)
class Validation:
    """Which problems does this JSON Schema see in this value? Answered by a sentence, empty when there are none."""

    schema: str
    value: str


@dataclass(frozen=True)
class GivenOutput:
    """Which output was given with the decision on this Approval? Answered by the value, or by Lost: it is no use."""

    approval: str
    uid: str


@dataclass(frozen=True)
class ClaimOf:
    """Who, asked now, holds the task of this claim? Answered by Claim, by None, or by Lost: it is no claim of ours."""

    name: str
    after: str = ""
    """The UID of the run that is known to be over: what it left can be read since."""


@dataclass(frozen=True)
class RunIsOver:
    """Has the API server, asked now, no run of this name and UID, or has that come to its end? Answered by bool."""

    name: str
    uid: str


@dataclass(frozen=True)
class PodsOf:
    """Which pods of this run, which is gone, does the API server have now? Answered by a tuple of PodSeen."""

    run_uid: str


Costly = Evaluation | Validation
OfTasks = ClaimOf | RunIsOver | PodsOf
"""Questions about a task whose answers change with every claim that is written."""
Content = StoredOutput | JournalSegment | PinnedSpec
"""What the digest that the question has says for good."""
Question = PodIsGone | ResultOf | Content | StillStored | PolicyEnforced | GivenOutput | OfTasks | Costly


def key_of(question: Question) -> Hashable:
    """What an answer is kept under: of a costly question its digest, since its text may have a megabyte."""
    return fingerprint(*astuple(question)) if isinstance(question, Costly) else question


def length_of(question: Question) -> int:
    """Characters of a costly question; others hold next to nothing."""
    return sum(map(len, astuple(question))) if isinstance(question, Costly) else 0


class Unanswered(Exception):  # noqa: N818 - it is no error: it is how a decision asks
    """The decision needs the answers to these questions first."""

    def __init__(self, *questions: Question) -> None:
        super().__init__(*questions)
        self.questions = questions


def all_answered(computations: Iterable[Callable[[], T]]) -> list[T]:
    """The values of all computations; what any of them has to ask is asked at once, and not one after the other."""
    found, asked, size = list[T](), list[Question](), 0
    for computation in computations:
        try:
            found.append(computation())
        except Unanswered as unanswered:
            asked += unanswered.questions
            size += sum(map(length_of, unanswered.questions))
        if size > ASKED_AT_ONCE:
            break  # the rest is asked when these are answered
    if asked:
        raise Unanswered(*dict.fromkeys(asked))
    return found


@dataclass(frozen=True)
class Refusal:
    """The API server's no to a creation; `for_now` where the same request may be accepted later."""

    message: str
    for_now: bool
    reason: str = "CreationRefused"
    """What is said of a step that waits for it."""


class SandboxSettings(Strict):
    """What the installation adds to every sandbox pod."""

    env: tuple[dict[str, Any], ...] = ()
    ca_bundle_config_map: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class_name: str = ""


@dataclass(frozen=True)
class Observed:
    """One consistent look at the world of one run. `jitter` is a random number in [0, 1)."""

    now: datetime
    jitter: float = 0.5
    pods: Mapping[str, PodSeen] = field(default_factory=dict)
    """By UID, those of this run's UID alone."""
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    """By name, those of this run's namespace that name this run."""
    tools: Mapping[str, ToolSpec] = field(default_factory=dict)
    """The Tools of the namespace as they are now, by name; only those that the run names."""
    results: Mapping[str, ToolResult] = field(default_factory=dict)
    """Results read from the logs of running pods, by pod UID."""
    policies: frozenset[str] = frozenset()
    """The names of the NetworkPolicies of this operator in the namespace."""
    stored: frozenset[str] = frozenset()
    """The names of ConfigMaps with outputs, and of pinned Tools, that are known to be stored."""
    same_task: tuple[str, ...] = ()
    """The names of other runs of the same task that have begun and are not over."""
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    """What the API server refused to create in this pass, by name."""
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    pod_retention: timedelta = timedelta(hours=1)
    answers: Mapping[Hashable, Any] = field(default_factory=dict)
    """By the key of their question."""

    def answer(self, question: Question) -> Any:
        """The answer to a question; raises Unanswered where it was not given yet."""
        key = key_of(question)
        if key not in self.answers:
            raise Unanswered(question)
        return self.answers[key]
