"""What a person is asked, exactly what the answer covers, and when an answer counts."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from agentruns.core.digests import digest
from agentruns.core.expressions import value
from agentruns.core.inputs import Problem, Reader
from agentruns.core.lexing import ExpressionError
from agentruns.core.naming import API_VERSION, LABEL_RUN_UID, approval_name
from agentruns.core.observed import Observed
from agentruns.core.pods import Attempt, owner
from agentruns.core.resources import AgentRun, Approval, Step
from agentruns.core.templates import as_text, expanded

_SHOWN_LENGTH: Final = 1024
_LOOKS_ESCAPED: Final = re.compile(r"\\(?=[uU])")
_BLANK: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Letters and marks that show nothing, or change how another is shown."""
_SHOWN_FIELDS: Final = ("summary", "args", "why", "tool", "goal")


@dataclass(frozen=True)
class Demand:
    """A question to a person: the Approval's name, the digest an answer binds to, and the manifest that asks."""

    name: str
    digest: str
    manifest: dict[str, Any]


def because(step: Step, attempt: Attempt, seen: Observed) -> str:
    """The rule that makes this step ask a person; empty if none does. Only a clean true passes an `Unless`."""
    tool = attempt.tool
    if step.approval == "Always":
        return "the step asks always"
    if tool.asks == "Always":
        return "the tool asks always"
    if tool.asks == "Never":
        return ""
    try:
        passes = value(tool.approval_unless, {"args": attempt.args}, seen) is True
    except ExpressionError as error:
        return f"the tool asks unless {tool.approval_unless}; that could not be evaluated: {error}"
    return "" if passes else f"the tool asks unless {tool.approval_unless}"


def effect_demand(run: AgentRun, step: Step, attempt: Attempt, request: dict[str, Any]) -> Demand:
    """The question whether this effect may happen; one answer covers all attempts of the same intent."""
    return _demand(run, step, attempt, "Effect", request)


def doubt_demand(run: AgentRun, step: Step, attempt: Attempt, request: dict[str, Any]) -> Demand:
    """The question what became of an effect whose outcome cannot be known."""
    return _demand(run, step, attempt, "InDoubt", request)


def _demand(run: AgentRun, step: Step, attempt: Attempt, purpose: str, request: dict[str, Any]) -> Demand:
    binding = {
        "runUID": run.metadata.uid,
        "step": step.name,
        "tool": attempt.revision,
        "input": attempt.input_digest,
        "epoch": attempt.epoch,
        "purpose": purpose,
    }
    bound = digest(binding)
    name = approval_name(run.metadata.name, step.name, bound)
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "Approval",
        "metadata": {
            "name": name,
            "namespace": run.metadata.namespace,
            "labels": {LABEL_RUN_UID: run.metadata.uid},
            "ownerReferences": [owner(run)],
        },
        "spec": {
            "runRef": {"name": run.metadata.name, "uid": run.metadata.uid},
            "step": step.name,
            "tool": step.tool,
            "purpose": purpose,
            "digest": bound,
            "request": request,
        },
    }
    return Demand(name, bound, manifest)


def effect_request(run: AgentRun, step: Step, attempt: Attempt, reason: str, reader: Reader) -> dict[str, Any]:
    """Everything a person needs to decide on an effect, every string of it safe to print."""
    return {
        **_common(run, step, attempt, reader.seen),
        "why": _why(step, reader),
        "because": escaped(reason),
        "onApprove": f"runs {step.tool} once, with exactly these arguments",
        "onReject": "the run ends as Failed, Rejected"
        if step.on_failure == "Fail"
        else "the step ends as Failed, Rejected; the run goes on",
        "askedBefore": attempt.epoch,
    }


def doubt_request(run: AgentRun, step: Step, attempt: Attempt, outcome: str, seen: Observed) -> dict[str, Any]:
    """Everything a person needs to say what became of an effect."""
    return {
        **_common(run, step, attempt, seen),
        "because": "the outcome of this step is unknown, and the tool is not safe to repeat",
        "outcome": escaped(outcome),
        "onApprove": "Happened (with its output): the run goes on from there. RunAgain: the tool runs once more",
        "onReject": "Fail: the run ends as Failed, InDoubt",
        "askedBefore": attempt.epoch,
    }


def _common(run: AgentRun, step: Step, attempt: Attempt, seen: Observed) -> dict[str, Any]:
    tool = attempt.tool
    return {
        "summary": _summary(step, attempt, seen),
        "args": escaped_deep(attempt.args),
        "tool": {
            "description": escaped(tool.description),
            "image": tool.image,
            "command": [escaped(word) for word in tool.command],
            "effect": tool.effect.value,
            "egress": list(tool.egress),
            "secretNames": tool.secret_names,
            "env": [escaped(_variable(it)) for it in tool.env],
            "runtimeClassName": tool.runtime_class_name,
        },
        "requestedBy": escaped(run.spec.requested_by),
        "goal": escaped(run.spec.goal),
    }


def _variable(variable: dict[str, Any]) -> str:
    """One environment variable as an approver reads it; what stands in a Secret or ConfigMap is not pinned."""
    for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
        if found := (variable.get("valueFrom") or {}).get(key):
            return f"{variable['name']} from {kind} {found['name']}, key {found['key']}, as it is when the tool runs"
    return f"{variable['name']}={variable.get('value', '')}"


def _summary(step: Step, attempt: Attempt, seen: Observed) -> str:
    """The tool owner's sentence about these arguments, or a plain one where there is none or it fails."""
    plain = f"Run {step.tool}"
    if not attempt.tool.approval_summary:
        return plain
    try:
        text = expanded(
            attempt.tool.approval_summary, "approvalSummary", lambda it: value(it, {"args": attempt.args}, seen)
        )
    except ExpressionError as error:
        return escaped(f"{plain} (its summary could not be made: {error})")
    return escaped(as_text(text))


def _why(step: Step, reader: Reader) -> str:
    """The author's reason for this step, as a text."""
    try:
        text = expanded(step.why, "why", reader)
    except ExpressionError as error:
        raise Problem(f"step {step.name}: {error}") from error
    return escaped(as_text(text))


def is_ours(approval: Approval, demand: Demand, run: AgentRun) -> bool:
    """Whether an Approval is the one this run asked for, showing what it was asked to show."""
    expected, shown = demand.manifest["spec"]["request"], approval.spec.request
    return (
        approval.spec.digest == demand.digest
        and approval.spec.run_ref.uid == run.metadata.uid
        and any(reference.uid == run.metadata.uid for reference in approval.metadata.owner_references)
        and all(shown.get(key, "") == expected.get(key, "") for key in _SHOWN_FIELDS)
    )


def escaped(text: str) -> str:
    """A text cut to what is shown, with control, bidi and other invisible characters written as `\\uXXXX`."""
    shown = _shown(text[: _SHOWN_LENGTH + 1])
    return shown if len(shown) <= _SHOWN_LENGTH else f"{shown[:_SHOWN_LENGTH]}…"


def _shown(text: str) -> str:
    """The text with what cannot be seen made visible; what looks like an escape already is told apart from one."""
    return "".join(_visible(character) for character in _LOOKS_ESCAPED.sub(r"\\u005c", text))


def _visible(character: str) -> str:
    if character == " " or (unicodedata.category(character)[0] not in "CZ" and character not in _BLANK):
        return character
    return character.encode("unicode_escape").decode() if ord(character) > 0xFF else f"\\u{ord(character):04x}"


def escaped_deep(value: Any) -> Any:
    """A JSON value with every string in it, keys too, safe to print; nothing is cut."""
    if isinstance(value, str):
        return _shown(value)
    if isinstance(value, list):
        return [escaped_deep(item) for item in value]
    if isinstance(value, dict):
        return {escaped_deep(key): escaped_deep(item) for key, item in value.items()}
    return value
