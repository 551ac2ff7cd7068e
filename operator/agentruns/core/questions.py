"""What a decision may ask of the world.

A decision that needs a fact it was not given raises `Unanswered`. The shell finds the answer and decides anew, so
deciding stays free of I/O while a file, a fresh read or a costly evaluation is fetched only when it matters.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import astuple, dataclass
from typing import Any, Final, TypeVar

from agentruns.core.digests import fingerprint
from agentruns.core.records import OutputRef, PinnedTool, Segment

T = TypeVar("T")
ASKED_AT_ONCE: Final = 4_000_000
"""Characters of costly questions that are held at once."""


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
    """What is the content of this output? Answered by Stored, its digest checked, or by Lost."""

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
class Stored:
    """The answer that is the content of an output: its value, and how many stand within it, at most."""

    value: Any
    values: int


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
class RunNow:
    """What does the API server, asked now, have of the run of this name and UID? Answered by AgentRun, or by None."""

    name: str
    uid: str


@dataclass(frozen=True)
class PodsOf:
    """Which pods of this run, which is gone, does the API server have now? Answered by a tuple of PodSeen."""

    run_uid: str


Costly = Evaluation | Validation
OfTasks = ClaimOf | RunNow | PodsOf
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
