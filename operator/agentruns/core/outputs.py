"""A tool's output: believed only if it fits, kept in the status if it is small, in a ConfigMap by digest if not."""

from collections.abc import Mapping
from typing import Any, Final

from agentruns.core import schemas
from agentruns.core.actions import kept
from agentruns.core.digests import compact, digest_of, stored_length
from agentruns.core.expressions import Data, value
from agentruns.core.lexing import ExpressionError
from agentruns.core.look import Look, Moved
from agentruns.core.naming import LABEL_STEP, OUTPUT_KEY, output_name
from agentruns.core.observed import Observed
from agentruns.core.problems import Problem
from agentruns.core.records import EffectState, OutputRef, StepState
from agentruns.core.resources import Verification
from agentruns.core.sizes import SPARE

INLINE: Final = 4096
"""Bytes of one output that the status carries, if it has room for it."""
MAX_STORED: Final = 1_048_576
"""Bytes of one output in a ConfigMap: what a result may have, and what a ConfigMap takes."""


def judged(look: Look, output: Any) -> Moved:
    """The step with this output: failed if it breaks the schema or a `verify` rule, succeeded otherwise."""
    try:
        return _judged(look, output)
    except Problem as problem:  # here it is known what the step may have done
        return Moved(look.failed(problem.reason, str(problem)))


def _judged(look: Look, output: Any) -> Moved:
    text = compact(output)
    if wrong := misfit(look, output, text, "the result"):
        return Moved(look.failed("InvalidResult", wrong))
    if look.step.verify:
        environment = {"result": Data(output), "args": Data(look.args())}
        for place, rule in enumerate(look.step.verify):
            if said := _broken(rule, environment, look.seen):
                return Moved(look.failed("VerificationFailed", f"verify[{place}]: {said}"))
    return _succeeded(look, output, text)


def misfit(look: Look, output: Any, text: bytes, what: str) -> str:
    """Why an output, and the text of it, cannot be the tool's, in a sentence about `what`; empty if it can."""
    if len(text) > MAX_STORED:
        return f"{what} has {len(text)} bytes as it is stored; at most {MAX_STORED} are taken"
    schema = look.tool.output_schema
    if schema and (wrong := schemas.problems(schema, output, look.seen)):
        return f"{what} does not fit the outputSchema of tool {look.step.tool}: {wrong}"
    return ""


def _broken(rule: Verification, environment: Mapping[str, Data], seen: Observed) -> str:
    """Why a rule does not hold; empty if it does. Only a clean true is a yes."""
    try:
        if value(rule.expression, environment, seen) is True:
            return ""
    except ExpressionError as error:
        return f"{rule.message or rule.expression} ({error})"
    return rule.message or f"{rule.expression} is not true"


def _succeeded(look: Look, output: Any, text: bytes) -> Moved:
    """The step succeeded with this output, stored where its size belongs."""
    done = look.recording(message="", effect_state=look.effect(EffectState.DONE))
    if stored_length(output) <= min(INLINE, look.room - SPARE):
        record = done.ended(StepState.SUCCEEDED, "Completed").model_copy(update={"output": output})
        return Moved(record)
    reference = OutputRef(
        name=output_name(look.run.metadata.name, look.step.name, digest_of(text + look.run.metadata.uid.encode())),
        key=OUTPUT_KEY,
        digest=digest_of(text),
        bytes=len(text),
    )
    refusal = look.seen.refusals.get(reference.name)
    if refusal and not refusal.for_now:
        return Moved(look.failed("InvalidResult", f"the result cannot be stored: {refusal.message}"))
    if reference.name not in look.seen.stored:
        stored = kept(look.run, reference.name, reference.key, text.decode(), {LABEL_STEP: look.step.name})
        return Moved(look.record, preparations=(stored,))
    return Moved(done.ended(StepState.SUCCEEDED, "Completed").model_copy(update={"output_ref": reference}))
