"""What the steps of a run need of one another, and what is wrong with a run before anything of it has begun."""

from collections.abc import Iterator, Mapping
from typing import Final

from agentruns.core import schemas
from agentruns.core.digests import MAX_DEPTH, compact, depth
from agentruns.core.expressions import Expression, compiled
from agentruns.core.inputs import MAX_INPUT, Problem, Reader, arguments
from agentruns.core.lexing import ExpressionError
from agentruns.core.observed import Observed
from agentruns.core.resources import AgentRun, RunSpec, Step, ToolSpec
from agentruns.core.templates import expressions_in, strings_in

MAX_EXPRESSIONS: Final = 4000
MAX_SOURCE: Final = 131_072

Needs = Mapping[str, frozenset[str]]


def direct_needs(spec: RunSpec) -> Mapping[str, tuple[str, ...]]:
    """For each step, by name, the steps that must have ended before it may begin."""
    if spec.order == "Graph":
        return {step.name: step.needs for step in spec.steps}
    names = [step.name for step in spec.steps]
    return {name: tuple(names[max(place - 1, 0) : place]) for place, name in enumerate(names)}


def check(run: AgentRun, tools: Mapping[str, ToolSpec], seen: Observed) -> None:
    """Raises Problem if this run can never work: it is said before its first pod, naming field and remedy."""
    spec = run.spec
    if depth(spec.input) > MAX_DEPTH:
        raise Problem(f"input: is nested more than {MAX_DEPTH} levels deep; flatten it")
    if not spec.steps:
        raise Problem("steps: a run has at least one step; add one")
    _check_sizes(spec)
    needs = _checked_needs(spec)
    reader = Reader(run, {}, seen)
    for place, step in enumerate(spec.steps):
        try:
            _check_step(step, needs[step.name], tools[step.tool], reader)
        except (Problem, ExpressionError) as error:
            raise Problem(f"steps[{place}] ({step.name}): {_without_name(step, str(error))}") from error
    _check_output(spec)


def _check_sizes(spec: RunSpec) -> None:
    """Raises Problem where so much is to be evaluated that it would be felt by others."""
    if (size := len(compact(spec.input))) > MAX_INPUT:
        raise Problem(f"input: {size} bytes; at most {MAX_INPUT} are taken, pass a reference to the rest")
    sources = [source for step in spec.steps for source in _sources(step)]
    if len(sources) > MAX_EXPRESSIONS or sum(map(len, sources)) > MAX_SOURCE:
        said = f"at most {MAX_EXPRESSIONS} expressions of {MAX_SOURCE} bytes in all"
        raise Problem(f"steps: {len(sources)} expressions of {sum(map(len, sources))} bytes; {said}")


def _sources(step: Step) -> Iterator[str]:
    """The source of every expression and template of a step."""
    yield from (text for _, text in strings_in([step.args, step.why], "") if "${" in text)
    yield from (text for text in (step.when, *(rule.expression for rule in step.verify)) if text)


def _checked_needs(spec: RunSpec) -> Needs:
    """For each step, by name, every step it needs, directly or through others; Problem unless those stand above."""
    found: dict[str, frozenset[str]] = {}
    for place, step in enumerate(spec.steps):
        if step.name in found:
            raise Problem(f"steps[{place}].name: {step.name!r} is there twice; names are unique")
        if step.needs and spec.order == "Sequence":
            raise Problem(f"steps[{place}].needs: only for order: Graph; remove it, or set order: Graph")
        for needed in step.needs:
            if needed not in found:
                raise Problem(f"steps[{place}].needs: {needed!r} is no step above {step.name!r}; move or correct it")
        through = [found[needed] for needed in step.needs]
        found[step.name] = frozenset(found) if spec.order == "Sequence" else frozenset(step.needs).union(*through)
    return found


def _check_step(step: Step, needs: frozenset[str], tool: ToolSpec, reader: Reader) -> None:
    if depth(step.args) > MAX_DEPTH:
        raise Problem(f"args: is nested more than {MAX_DEPTH} levels deep; flatten it")
    if step.timeout is not None and step.timeout > tool.timeout:
        raise Problem(f"timeout: is longer than the tool's own; at most {tool.timeout.total_seconds():.0f}s")
    reads_steps = False
    for field, expression in _expressions(step):
        _check_names(field, expression, ("run", "steps"), needs)
        reads_steps |= field.startswith("args") and bool(expression.steps)
    for place, rule in enumerate(step.verify):
        _check_source(f"verify[{place}].expression", rule.expression, "result", "args")
    check_tool(step.tool, tool)
    if not reads_steps:
        arguments(step, reader, tool, reader.seen)


def _expressions(step: Step) -> Iterator[tuple[str, Expression]]:
    """Every expression of a step over the run, with the path of its field."""
    yield from expressions_in(step.args, "args")
    yield from expressions_in(step.why, "why")
    if step.when:
        try:
            yield "when", compiled(step.when)
        except ExpressionError as error:
            raise Problem(f"when: {error}") from error


def _check_names(field: str, expression: Expression, known: tuple[str, ...], steps: frozenset[str]) -> None:
    try:
        expression.check(*known, steps=steps)
    except ExpressionError as error:
        raise Problem(f"{field}: {error}") from error


def _check_source(field: str, source: str, *known: str) -> None:
    try:
        compiled(source).check(*known)
    except ExpressionError as error:
        raise Problem(f"{field}: {error}") from error


def check_tool(name: str, tool: ToolSpec) -> None:
    """Raises Problem if a schema or an expression of a Tool does not compile."""
    for field, schema in (("inputSchema", tool.input_schema), ("outputSchema", tool.output_schema)):
        try:
            schemas.check(schema)
        except schemas.SchemaError as error:
            raise Problem(f"tool {name}: {field}: {error}") from error
    if tool.approval_unless:
        _check_source(f"tool {name}: approvalUnless", tool.approval_unless, "args")
    if tool.settle:
        _check_source(f"tool {name}: settle.happened", tool.settle.happened, "result", "args")
    try:
        for field, expression in expressions_in(tool.approval_summary, "approvalSummary"):
            _check_names(f"tool {name}: {field}", expression, ("args",), frozenset())
    except ExpressionError as error:
        raise Problem(f"tool {name}: {error}") from error


def _check_output(spec: RunSpec) -> None:
    if depth(spec.output) > MAX_DEPTH:
        raise Problem(f"output: is nested more than {MAX_DEPTH} levels deep; flatten it")
    names = frozenset(step.name for step in spec.steps)
    try:
        for field, expression in expressions_in(spec.output, "output"):
            for unknown in sorted(expression.steps - names):
                raise Problem(f"{field}: there is no step {unknown!r}; correct the name")
            _check_names(field, expression, ("run", "steps"), names)
    except ExpressionError as error:
        raise Problem(str(error)) from error


def _without_name(step: Step, message: str) -> str:
    return message.removeprefix(f"step {step.name}: ")
