"""What a step's expressions may read, and the input that its tool gets from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import Any, Final

from agentruns.core import schemas
from agentruns.core.digests import digest, fingerprint, require_flat
from agentruns.core.expressions import Data, Path, compiled, found_at, in_words, ordered, path_of, value
from agentruns.core.files import MAX_INPUT, SMALL, File, Part, handed_over, spliced, written
from agentruns.core.journal import Journal
from agentruns.core.lexing import ExpressionError
from agentruns.core.naming import doubted_step
from agentruns.core.observed import Observed
from agentruns.core.problems import Problem, json_type, within
from agentruns.core.questions import Lost, all_answered
from agentruns.core.reading import Reading
from agentruns.core.records import OutputRef, Segment, StepState, StepStatus
from agentruns.core.resources import AgentRun, Step, ToolSpec
from agentruns.core.templates import expanded, parts, strings

REMEMBERED: Final = 4
"""Sets of steps whose outputs are kept together with their text, for expressions that name the same."""


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
    files: tuple[File, ...] = ()

    @property
    def bare_args(self) -> Any:
        """The arguments without those that are files, in whose places stands null."""
        return spliced(self.args, {file.place: None for file in self.files})


@dataclass(frozen=True)
class Reader:
    """Evaluates the expressions of one run against what its steps have done so far."""

    run: AgentRun
    records: Mapping[str, StepStatus]
    seen: Observed
    segments: tuple[Segment, ...] = ()
    """The run's journal, where the records of steps are that are not among the others."""
    reading: Reading = field(default_factory=Reading)
    _memo: dict[frozenset[str], tuple[tuple[StepStatus | None, ...], Data]] = field(default_factory=dict)
    _parts: dict[Path, tuple[StepStatus, Part | None]] = field(default_factory=dict)

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
        stand = {name: self._record(name) for name in sorted(names)}
        steps = all_answered(partial(self._step, record) for record in stand.values())
        known = self._memo.pop(names, None)
        if known is None or any(now is not then for now, then in zip(stand.values(), known[0], strict=True)):
            known = (tuple(stand.values()), Data(dict(zip(stand, steps, strict=True))))
        self._memo[names] = known
        if len(self._memo) > REMEMBERED:
            del self._memo[next(iter(self._memo))]
        return known[1]

    @cached_property
    def _run(self) -> Data:
        metadata, spec = self.run.metadata, self.run.spec
        return Data({"name": metadata.name, "namespace": metadata.namespace, "goal": spec.goal, "input": spec.input})

    def _step(self, record: StepStatus | None) -> dict[str, Any]:
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
        found = self.reading.stored(record.output_ref, self.seen)
        if isinstance(found, Lost):
            raise Problem(f"the output of step {record.name} is lost: {found.message}", "StateLost")
        return found

    def part(self, source: str) -> Part | None:
        """What an expression reads if it is nothing but a path to a big value in a stored output; None if not."""
        path = path_of(source)
        record = self._record(str(path[1])) if path[:1] == ("steps",) and path[2:3] == ("output",) else None
        if record is None or record.output_ref is None or record.output_ref.bytes <= SMALL:
            return None
        output = self.reading.stored(record.output_ref, self.seen)
        known = self._parts.get(path)
        if known is None or known[0] is not record:
            known = self._parts[path] = (record, _part(record.name, record.output_ref, path[3:], output))
        return known[1]


def _part(step: str, ref: OutputRef, place: Path, output: Any) -> Part | None:
    """What is at a place in an output, in order if it may yet go with the others; None if that is nothing big."""
    found = found_at(("output", *place), output)
    if isinstance(found, Lost | ExpressionError) or (length := len(written(found))) <= SMALL:
        return None
    return Part(step, ref, place, found if length > MAX_INPUT else ordered(found), length)


@dataclass(frozen=True)
class Arguments:
    """A step's arguments, and those values in them that could be files as well."""

    whole: Any
    parts: Mapping[Path, Part] = field(default_factory=dict)


def idempotency_key(run: AgentRun, step: str) -> str:
    """The key of a step's effect: the same over attempts and restarts, different for every other task and step.

    A call that settles a doubt has the key of the step in doubt, by which its tool can find the effect.
    """
    named = run.spec.idempotency_key
    task = ("task", named) if named else (run.metadata.uid,)  # a key that is another run's UID is another task
    return fingerprint(run.metadata.namespace, *task, doubted_step(step))


def arguments(step: Step, reader: Reader, tool: ToolSpec, seen: Observed) -> Arguments:
    """A step's arguments with their expressions replaced, valid for the tool's input schema; Problem otherwise."""
    big = _big(step.args, reader)
    small = expanded(spliced(step.args, dict.fromkeys(big)), "args", reader)
    args = spliced(small, {place: part.value for place, part in big.items()})
    _require_fit(args, tool.input_schema, step.tool, seen)
    return Arguments(args, big)


def require_names(step: Step, tool: ToolSpec, seen: Observed) -> None:
    """Raises Problem if a step, whatever its expressions come to, names an argument wrongly or lacks one."""
    _require_fit(step.args, schemas.of_names(tool.input_schema), step.tool, seen)


def _require_fit(args: Any, schema: dict[str, Any], tool: str, seen: Observed) -> None:
    if schema and (wrong := schemas.problems(schema, args, seen)):
        raise Problem(f"args do not fit the inputSchema of tool {tool}: {wrong}")


def _big(args: Any, reader: Reader) -> dict[Path, Part]:
    """The arguments that are big values in stored outputs, and nothing is computed of them."""
    paths = {
        place: pieces[0].text
        for place, text in strings(args)
        if len(pieces := parts(text)) == 1 and pieces[0].is_expression
    }
    found = all_answered(partial(_part_at, place, source, reader) for place, source in paths.items())
    return {place: part for place, part in zip(paths, found, strict=True) if part is not None}


def _part_at(place: Path, source: str, reader: Reader) -> Part | None:
    with within(f"args{in_words(place)}"):
        return reader.part(source)


def tool_input(run: AgentRun, step: str, args: Any) -> dict[str, Any]:
    """What AGENTRUN_INPUT carries: the same for every attempt, so that a decision can bind to it."""
    return {
        "run": {"name": run.metadata.name, "namespace": run.metadata.namespace, "goal": run.spec.goal},
        "step": step,
        "idempotencyKey": idempotency_key(run, step),
        "args": args,
    }


@dataclass(frozen=True)
class Carried:
    """A tool's input as it stands in the pod, what of it are files beside it, and the digest that all of it has."""

    text: str
    digest: str
    files: tuple[File, ...]


def carried(content: dict[str, Any], parts: Mapping[Path, Part]) -> Carried:
    """A tool's input on its way to a pod, as files what does not fit otherwise; Problem where that cannot be."""
    with within("args"):
        require_flat(content)
        content, files = handed_over(content, parts)
        return Carried(written(content), digest(content), files)
