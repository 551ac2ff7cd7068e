"""What a step's expressions may read, and the input that its tool gets from them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

from agentruns.core import schemas
from agentruns.core.digests import digest, fingerprint
from agentruns.core.expressions import Data, compiled, value
from agentruns.core.journal import Journal
from agentruns.core.naming import doubted_step
from agentruns.core.observed import Lost, Observed, StoredOutput
from agentruns.core.problems import Problem, json_type, within
from agentruns.core.resources import AgentRun, Segment, Step, StepState, StepStatus, ToolSpec
from agentruns.core.templates import expanded

MAX_INPUT: Final = 65_536
"""Bytes of AGENTRUN_INPUT: it travels as one environment variable."""


@dataclass(frozen=True)
class Attempt:
    """Everything that makes one attempt of one step what it is."""

    step: str
    number: int
    epoch: int
    tool: ToolSpec
    revision: str
    timeout: timedelta
    args: Any
    input_text: str
    input_digest: str
    idempotency_key: str
    asked_anew: int = 0


@dataclass(frozen=True)
class Reader:
    """Evaluates the expressions of one run against what its steps have done so far."""

    run: AgentRun
    records: Mapping[str, StepStatus]
    seen: Observed
    segments: tuple[Segment, ...] = ()
    """The run's journal, where the records of steps are that are not among the others."""
    _memo: dict[frozenset[str], tuple[tuple[StepStatus | None, ...], Data]] = field(default_factory=dict)

    def __call__(self, source: str) -> Any:
        """The value of an expression; only what it names is looked up."""
        expression = compiled(source)
        environment = {"run": self._run} if "run" in expression.names else {}
        if "steps" in expression.names:
            environment["steps"] = self._steps(expression.steps)
        return value(source, environment, self.seen)

    def truth(self, source: str) -> bool:
        """The value of an expression that must be true or false; Problem if it is neither."""
        found = self(source)
        if not isinstance(found, bool):
            raise Problem(f"must be true or false, and is: {json_type(found)}")
        return found

    def _steps(self, names: frozenset[str]) -> Data:
        """The steps of these names as they stand; the same Data as long as they stand there."""
        stand = tuple(self._record(name) for name in sorted(names))
        known = self._memo.get(names)
        if known is None or any(now is not then for now, then in zip(stand, known[0], strict=True)):
            known = self._memo[names] = (stand, Data({name: self._step(name) for name in sorted(names)}))
        return known[1]

    @cached_property
    def _run(self) -> Data:
        metadata, spec = self.run.metadata, self.run.spec
        return Data({"name": metadata.name, "namespace": metadata.namespace, "goal": spec.goal, "input": spec.input})

    def _step(self, name: str) -> dict[str, Any]:
        record = self._record(name)
        if record is None:
            return {"state": StepState.PENDING.value, "output": None}
        return {"state": record.state.value, "output": self.output(record)}

    def _record(self, name: str) -> StepStatus | None:
        return self.records.get(name) or self._journal.record(name, self.seen)

    @cached_property
    def _journal(self) -> Journal:
        return Journal(self.run, self.segments)

    def output(self, record: StepStatus) -> Any:
        """The output of a step; null unless it has succeeded, Problem if it is lost."""
        if record.state is not StepState.SUCCEEDED:
            return None
        if record.output_ref is None:
            return record.output
        found = self.seen.answer(StoredOutput(record.output_ref))
        if isinstance(found, Lost):
            raise Problem(f"the output of step {record.name} is lost: {found.message}", "StateLost")
        return found


def idempotency_key(run: AgentRun, step: str) -> str:
    """The key of a step's effect: the same over attempts and restarts, different for every other task and step.

    A call that settles a doubt has the key of the step in doubt, by which its tool can find the effect.
    """
    return fingerprint(run.metadata.namespace, run.spec.idempotency_key or run.metadata.uid, doubted_step(step))


def arguments(step: Step, evaluate: Callable[[str], Any], tool: ToolSpec, seen: Observed) -> Any:
    """A step's arguments with their expressions replaced, valid for the tool's input schema; Problem otherwise."""
    args = expanded(step.args, "args", evaluate)
    if tool.input_schema and (wrong := schemas.problems(tool.input_schema, args, seen)):
        raise Problem(f"args do not fit the inputSchema of tool {step.tool}: {wrong}")
    return args


def tool_input(run: AgentRun, step: str, args: Any) -> dict[str, Any]:
    """What AGENTRUN_INPUT carries: the same for every attempt, so that a decision can bind to it."""
    return {
        "run": {"name": run.metadata.name, "namespace": run.metadata.namespace, "goal": run.spec.goal},
        "step": step,
        "idempotencyKey": idempotency_key(run, step),
        "args": args,
    }


def carried(content: dict[str, Any]) -> tuple[str, str]:
    """A tool's input as it stands in the pod, and its digest; Problem where it cannot be carried to a pod."""
    with within("args"):
        bound = digest(content)
        text = json.dumps(content, separators=(",", ":"))
        if len(text) > MAX_INPUT:
            raise Problem(f"{len(text)} bytes of input; at most {MAX_INPUT} fit, pass less")
    return text, bound
