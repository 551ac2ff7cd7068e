"""What is wrong with a run or a Tool before anything of it has begun: said at once, with the field and the remedy."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from agentruns.core import schemas
from agentruns.core.digests import compact, require_flat
from agentruns.core.expressions import Expression, compiled
from agentruns.core.files import MAX_INPUT
from agentruns.core.inputs import Reader, arguments, require_names
from agentruns.core.model import in_seconds
from agentruns.core.network import check_egress
from agentruns.core.observed import Observed
from agentruns.core.problems import Problem, within
from agentruns.core.questions import all_answered
from agentruns.core.resources import AgentRun, Effect, OversizedToolSpec, RunSpec, Settle, Step, ToolSpec
from agentruns.core.sizes import MAX_TOOLS
from agentruns.core.templates import expressions_in, strings_in

MAX_EXPRESSIONS: Final = 4000
MAX_SOURCE: Final = 131_072
_LISTED: Final = 3
_NAMED: Final = 10

Needs = Mapping[str, frozenset[str]]


def check_run(run: AgentRun, tools: Mapping[str, ToolSpec], seen: Observed) -> None:
    """Raises Problem if this run can never work."""
    spec = run.spec
    _check_depth("input", spec.input)
    for place, step in enumerate(spec.steps):
        _check_depth(f"steps[{place}] ({step.name}): args", step.args)
    if not spec.steps:
        raise Problem("steps: a run has at least one step; add one")
    _check_sizes(spec)
    needs = _checked_needs(spec)
    for name in _called(spec, tools):
        with within(f"tool {name}"):
            check_tool(tools[name])
            if settle := tools[name].settle:
                check_settle(settle, tools[settle.tool])
    reader = Reader(run, {}, seen)
    checks = (
        *(partial(_check_step, place, needs, tools, reader) for place in range(len(spec.steps))),
        partial(_check_output, reader),
    )
    found = [problem for problem in all_answered(partial(_problem_of, check) for check in checks) if problem]
    if found:
        more = f"; and others in {len(found) - _LISTED} more places" if len(found) > _LISTED else ""
        raise Problem("; ".join(found[:_LISTED]) + more)


def _called(spec: RunSpec, tools: Mapping[str, ToolSpec]) -> list[str]:
    """The Tools that the steps name; Problem if those, with what settles for them, are more than a status can pin."""
    named = list(dict.fromkeys(step.tool for step in spec.steps))
    pinned = {*named, *(settle.tool for name in named if (settle := tools[name].settle))}
    if len(pinned) > MAX_TOOLS:
        raise Problem(f"steps: they call {len(pinned)} different Tools; at most {MAX_TOOLS} are taken, split the run")
    return named


def _problem_of(check: Callable[[], None]) -> str:
    """What is wrong in one place, so that others are looked at as well; empty if nothing is."""
    try:
        check()
    except Problem as problem:
        return str(problem)
    return ""


def check_tool(tool: ToolSpec) -> None:
    """Raises Problem if a schema or an expression of a Tool does not compile."""
    if isinstance(tool, OversizedToolSpec):
        raise Problem(f"spec: {tool.size}; so large a Tool is not taken")
    for field, schema in (("inputSchema", tool.input_schema), ("outputSchema", tool.output_schema)):
        with within(field):
            schemas.check(schema)
    if tool.retry.initial_backoff > tool.retry.max_backoff:
        raise Problem("retry.initialBackoff: is longer than maxBackoff; lower it, or raise that")
    for place, rule in enumerate(tool.egress):
        with within(f"egress[{place}]"):
            check_egress(rule)
    if tool.approval_unless:
        _check_source("approvalUnless", tool.approval_unless, "args")
    if tool.settle:
        _check_source("settle.happened", tool.settle.happened, "result", "args")
    for field, expression in expressions_in(tool.approval_summary, "approvalSummary"):
        with within(field):
            expression.check("args")


def check_settle(settle: Settle, tool: ToolSpec) -> None:
    """Raises Problem if the Tool that is to settle doubts about another cannot do that."""
    with within(f"settle.tool: {settle.tool}"):
        check_tool(tool)
        if wrong := unfit_to_settle(tool):
            raise Problem(wrong)


def unfit_to_settle(tool: ToolSpec) -> str:
    """Why a Tool cannot settle the doubts about another, with the remedy; empty if it can."""
    if tool.effect is not Effect.READ_ONLY:
        return f"is {tool.effect}; name a Tool whose effect is ReadOnly"
    if tool.asks != "Never":
        return "asks a person; name a Tool whose approval is Never"
    return "has a settle tool itself; name a Tool without one" if tool.settle else ""


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
                raise Problem(f"steps[{place}].needs: {_not_above(needed, place, spec)}")
        through = [found[needed] for needed in step.needs]
        found[step.name] = frozenset(found) if spec.order == "Sequence" else frozenset(step.needs).union(*through)
    return found


def _not_above(needed: str, place: int, spec: RunSpec) -> str:
    """Why a step may not need another, and what to do about it."""
    step = spec.steps[place]
    if needed == step.name:
        return f"{needed!r} is this step itself; remove it"
    if any(it.name == needed and step.name in it.needs for it in spec.steps[place:]):
        return f"{step.name!r} and {needed!r} need each other; remove one of the two"
    return f"{needed!r} is no step above {step.name!r}; move or correct it"


def _check_step(place: int, needs: Needs, tools: Mapping[str, ToolSpec], reader: Reader) -> None:
    spec, step = reader.run.spec, reader.run.spec.steps[place]
    tool = tools[step.tool]
    with within(f"steps[{place}] ({step.name})"):
        if step.timeout is not None and step.timeout > tool.timeout:
            raise Problem(f"timeout: is longer than the tool's own; at most {in_seconds(tool.timeout)}")
        reads_steps = False
        for field, expression in _expressions(step):
            with within(field):
                expression.check("run", "steps")
                for unread in sorted(expression.steps - needs[step.name]):
                    raise Problem(_unread(unread, place, spec))
            reads_steps |= field.startswith("args") and bool(expression.steps)
        for at, rule in enumerate(step.verify):
            _check_source(f"verify[{at}].expression", rule.expression, "result", "args")
        certain = _runs_for_certain(step, reader)
        if certain:
            _require_values([*expressions_in(step.args, "args"), *expressions_in(step.why, "why")], reader)
        fit = partial(arguments, reader=reader) if certain and not reads_steps else require_names
        fit(step, tool=tool, seen=reader.seen)
        if tool.settle:
            settles = step.model_copy(update={"tool": tool.settle.tool})
            fit(settles, tool=tools[settles.tool], seen=reader.seen)


def _runs_for_certain(step: Step, reader: Reader) -> bool:
    """Whether no `when` has it skipped, for which what it would be given may be missing; Problem if that is wrong."""
    if not step.when or compiled(step.when).steps:
        return not step.when
    with within("when"):
        return reader.truth(step.when)


def _require_values(expressions: Iterable[tuple[str, Expression]], reader: Reader) -> None:
    """Raises Problem if one that reads no step has no value: it would have none later either, after effects."""
    known = [(field, it.source) for field, it in expressions if not it.steps]
    all_answered(partial(_require_value, field, source, reader) for field, source in known)


def _require_value(field: str, source: str, reader: Reader) -> None:
    with within(field):
        reader(source)


def _unread(name: str, place: int, spec: RunSpec) -> str:
    """Why a step may not read another, and what to do about it."""
    above = [step.name for step in spec.steps[:place]]
    if name in above:
        return f"reads steps.{name}, which this step does not need; add {name} to its `needs`"
    if all(step.name != name for step in spec.steps):
        return f"reads steps.{name}, and there is no such step; above this one: {_listed(above)}"
    return f"reads steps.{name}, which is not above this step; move it up. Above this one: {_listed(above)}"


def _listed(names: Sequence[str]) -> str:
    return f"{'..., ' if len(names) > _NAMED else ''}{', '.join(names[-_NAMED:]) or 'none'}"


def _expressions(step: Step) -> Iterator[tuple[str, Expression]]:
    """Every expression of a step over the run, with the path of its field."""
    yield from expressions_in(step.args, "args")
    yield from expressions_in(step.why, "why")
    if step.when:
        with within("when"):
            found = compiled(step.when)
        yield "when", found


def _check_source(field: str, source: str, *known: str) -> None:
    with within(field):
        compiled(source).check(*known)


def _check_depth(field: str, value: object) -> None:
    with within(field):
        require_flat(value)


def _check_output(reader: Reader) -> None:
    spec = reader.run.spec
    _check_depth("output", spec.output)
    names = [step.name for step in spec.steps]
    expressions = list(expressions_in(spec.output, "output"))
    for field, expression in expressions:
        with within(field):
            expression.check("run", "steps")
            for unknown in sorted(expression.steps.difference(names)):
                raise Problem(f"reads steps.{unknown}, and there is no such step; there are: {_listed(names)}")
    _require_values(expressions, reader)
