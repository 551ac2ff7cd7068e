"""What a step's expressions may read, and the input that its tool gets from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agentruns.core import schemas
from agentruns.core.digests import NotCanonicalError, digest, fingerprint
from agentruns.core.expressions import compiled, value
from agentruns.core.lexing import ExpressionError
from agentruns.core.observed import Observed, StoredOutput
from agentruns.core.pods import Attempt, input_text, tool_input
from agentruns.core.resources import AgentRun, PinnedTool, Step, StepState, StepStatus, ToolSpec
from agentruns.core.templates import expanded

MAX_INPUT: Final = 65_536
"""Bytes of AGENTRUN_INPUT: it travels as one environment variable."""


class Problem(ValueError):  # noqa: N818 - the user's mistake is a decision, not a failure of ours
    """Something in a spec that cannot work; the message names the field and the remedy."""


@dataclass(frozen=True)
class Reader:
    """Evaluates the expressions of one run against what its steps have done so far."""

    run: AgentRun
    records: Mapping[str, StepStatus]
    seen: Observed

    def __call__(self, source: str) -> Any:
        """The value of an expression; only the steps that it names are looked up."""
        steps = {name: self._step(self.records.get(name, StepStatus(name=name))) for name in compiled(source).steps}
        return value(source, {"run": self._run(), "steps": steps}, self.seen)

    def truth(self, source: str, field: str) -> bool:
        """The value of an expression that must be true or false; Problem names the field if it is neither."""
        try:
            found = self(source)
        except ExpressionError as error:
            raise Problem(f"{field}: {error}") from error
        if not isinstance(found, bool):
            raise Problem(f"{field}: must be true or false, and is a {type(found).__name__}")
        return found

    def _run(self) -> dict[str, Any]:
        metadata, spec = self.run.metadata, self.run.spec
        return {"name": metadata.name, "namespace": metadata.namespace, "goal": spec.goal, "input": spec.input}

    def _step(self, record: StepStatus) -> dict[str, Any]:
        return {"state": record.state.value, "output": self._output(record)}

    def _output(self, record: StepStatus) -> Any:
        if record.state is not StepState.SUCCEEDED:
            return None
        return self.seen.answer(StoredOutput(record.output_ref)) if record.output_ref else record.output


def idempotency_key(run: AgentRun, step: str) -> str:
    """The key of a step's effect: the same over attempts and restarts, different for every other task and step."""
    return fingerprint(run.metadata.namespace, run.spec.idempotency_key or run.metadata.uid, step)


def arguments(step: Step, evaluate: Callable[[str], Any], tool: ToolSpec, seen: Observed) -> Any:
    """A step's arguments with their expressions replaced, valid for the tool's input schema; Problem otherwise."""
    try:
        args = expanded(step.args, "args", evaluate)
    except ExpressionError as error:
        raise Problem(f"step {step.name}: {error}") from error
    if tool.input_schema and (wrong := schemas.problems(tool.input_schema, args, seen)):
        raise Problem(f"step {step.name}: args do not fit the inputSchema of tool {step.tool}: {wrong}")
    return args


def attempt(run: AgentRun, step: Step, record: StepStatus, pinned: PinnedTool, tool: ToolSpec, args: Any) -> Attempt:
    """The attempt that a step's record stands at; Problem where its input cannot be carried to a pod."""
    key = idempotency_key(run, step.name)
    content = tool_input(run, step.name, key, args)
    try:
        bound = digest(content)
    except NotCanonicalError as error:
        raise Problem(f"step {step.name}: args: the value {error}") from error
    text = input_text(content)
    if len(text) > MAX_INPUT:
        raise Problem(f"step {step.name}: args: {len(text)} bytes of input; at most {MAX_INPUT} fit, pass less")
    return Attempt(
        step=step.name,
        number=max(record.attempt, 1),
        epoch=record.epoch,
        tool=tool,
        revision=pinned.revision,
        timeout=min(step.timeout or tool.timeout, tool.timeout),
        args=args,
        input_text=text,
        input_digest=bound,
        idempotency_key=key,
    )
