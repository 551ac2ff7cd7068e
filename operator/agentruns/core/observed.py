"""What can be seen of a run from outside, as data: one look, which a decision is made from."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from agentruns.core.model import Strict
from agentruns.core.naming import FINALIZER_RESULT
from agentruns.core.questions import Question, Unanswered, key_of
from agentruns.core.resources import Approval, ToolSpec

POD_LIMIT_REACHED: Final = "PodLimitReached"
"""The reason of a step that waits for its turn to have a pod, and is told when that has come."""


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
    revision: str
    """The label that stands for the revision of the Tool that it was made from."""
    input_digest: str
    owner_uid: str
    owner_name: str
    resource_version: str
    not_after: datetime
    gated: bool
    finalizers: tuple[str, ...]
    deleting: bool
    stopping: bool
    """Whether its kubelet was told to end it."""
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
        """Whether it runs or may yet: its container has not ended, known or not how, nor is it in its last phase."""
        return self.end is None and self.phase not in ("Succeeded", "Failed")

    @property
    def runs(self) -> bool:
        """Whether its container has started, and is not known to have ended."""
        return self.started_at is not None and self.end is None

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
