"""What a person is asked, exactly what the answer covers, and when an answer counts."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from agentruns.core.digests import compact, digest
from agentruns.core.expressions import Data, path_of, value
from agentruns.core.inputs import Attempt, Reader
from agentruns.core.lexing import ExpressionError
from agentruns.core.model import shown_digest
from agentruns.core.naming import API_VERSION, LABEL_RUN_UID, approval_name
from agentruns.core.observed import Observed
from agentruns.core.problems import Problem
from agentruns.core.records import RunStatus, StepStatus
from agentruns.core.resources import AgentRun, Approval, Step, ToolSpec, owner
from agentruns.core.templates import as_text, expanded

_SHOWN_LENGTH: Final = 1024
_TOLD_LENGTH: Final = 64
_SHOWN_LINES: Final = 2000
_PLAIN: Final = re.compile(r"[\w.:/@+#-]+")
_LOOKS_ESCAPED: Final = re.compile(r"\\(?=[uU])")
_BLANK: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Letters and marks that show nothing, or change how another is shown."""
_LIKE_BACKSLASH: Final = frozenset("\u2216\u29f5\u29f9\ufe68\uff3c")
"""What could pass for the beginning of one of our escapes."""
_HIDDEN: Final = _BLANK | _LIKE_BACKSLASH


@dataclass(frozen=True)
class Demand:
    """A question to a person, as the manifest that asks."""

    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The Approval's name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The Approval's namespace."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def digest(self) -> str:
        """What an answer binds to."""
        return str(self.manifest["spec"]["digest"])

    @property
    def shown(self) -> str:
        """The digest of what a person would be shown now."""
        return str(shown_digest(self.manifest["spec"]["request"]))


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
        passes = value(tool.approval_unless, {"args": Data(attempt.args)}, seen) is True
    except ExpressionError:
        return f"the tool asks unless {tool.approval_unless}; that has no value for these arguments"
    return "" if passes else f"the tool asks unless {tool.approval_unless}"


def demand(run: AgentRun, step: Step, attempt: Attempt, purpose: str, request: dict[str, Any]) -> Demand:
    """The question for this purpose; one answer covers all attempts of the same intent."""
    binding = {
        "runUID": run.metadata.uid,
        "step": step.name,
        "tool": attempt.revision,
        "input": attempt.input_digest,
        "epoch": attempt.epoch,
        **({"askedAnew": attempt.asked_anew} if attempt.asked_anew else {}),
        "purpose": purpose,
    }
    return _demand(run, step.name, {"step": step.name, "tool": step.tool}, request, binding)


def task_demand(run: AgentRun, task: str, holder: str, request: dict[str, Any]) -> Demand:
    """The question what became of a task, by its digest, that a run held by this UID which is gone."""
    binding = {
        "runUID": run.metadata.uid,
        "task": task,
        "holder": holder,
        "askedAnew": run.status.asked_anew,
        "purpose": "InDoubt",
    }
    return _demand(run, "task", {}, request, binding)


def _demand(
    run: AgentRun, what: str, about: dict[str, str], request: dict[str, Any], binding: dict[str, Any]
) -> Demand:
    bound = digest(binding)
    metadata = {
        "name": approval_name(run.metadata.name, what, bound),
        "namespace": run.metadata.namespace,
        "labels": {LABEL_RUN_UID: run.metadata.uid},
        "ownerReferences": [owner(run)],
    }
    spec = {
        "runRef": {"name": run.metadata.name, "uid": run.metadata.uid},
        **about,
        "purpose": binding["purpose"],
        "digest": bound,
        "request": request,
    }
    return Demand({"apiVersion": API_VERSION, "kind": "Approval", "metadata": metadata, "spec": spec})


def effect_request(reader: Reader, step: Step, attempt: Attempt) -> dict[str, Any]:
    """Everything a person needs to decide on an effect, every string of it safe to print."""
    return {
        **_common(reader, step, attempt),
        "why": _why(step, reader),
        "because": escaped(because(step, attempt, reader.seen)),
        "onApprove": f"runs {step.tool} once, with exactly these arguments",
        "onReject": _on_no(step, "Rejected"),
    }


def doubt_request(reader: Reader, step: Step, attempt: Attempt, record: StepStatus) -> dict[str, Any]:
    """Everything a person needs to say what became of the effect of a step that stands as recorded."""
    common = _common(reader, step, attempt)
    schema = attempt.tool.output_schema
    fits = f", which must fit the outputSchema {compact(schema).decode()}" if schema else ""
    return {
        **common,
        "summary": escaped(f"Did this happen? {common['summary']}"),
        "because": escaped(
            "the outcome of this step is unknown, and the tool is not safe to repeat; "
            f"if anything, pod {record.pod} did it under the key {attempt.idempotency_key}"
        ),
        "outcome": escaped(record.message),
        "onHappened": escaped(f"the run goes on from the output that you give{fits}"),
        "onRunAgain": f"{step.tool} runs once more, with these arguments: if it did happen, it happens twice",
        "onFail": _on_no(step, "InDoubt"),
    }


def task_request(run: AgentRun, holder: str, outcome: str) -> dict[str, Any]:
    """Everything a person needs to say what became of a task whose run is gone."""
    spec = run.spec
    calls = ", ".join(dict.fromkeys(step.tool for step in spec.steps))
    return {
        "summary": escaped(f"Did this happen? The whole task {spec.idempotency_key}, which run {holder} had begun"),
        "args": escaped_deep(spec.input),
        "requestedBy": escaped(spec.requested_by),
        "idempotencyKey": escaped(spec.idempotency_key or ""),
        "goal": escaped(spec.goal),
        "askedBefore": run.status.asked_anew,
        "because": "the run that held this task is gone, and what it had done is not known",
        "outcome": escaped(outcome),
        "onHappened": "the run ends as Succeeded, with the output that you give, an object or none; nothing runs",
        "onRunAgain": escaped(f"the run begins with its first step, and calls {calls}: what did happen happens twice"),
        "onFail": "the run ends as Failed, InDoubt; so does every later run of this task",
    }


def _on_no(step: Step, reason: str) -> str:
    if step.on_failure == "Fail":
        return f"the run ends as Failed, {reason}"
    return f"the step ends as Failed, {reason}; the run goes on"


def _common(reader: Reader, step: Step, attempt: Attempt) -> dict[str, Any]:
    spec = reader.run.spec
    return {
        "summary": _summary(step, attempt, reader.seen),
        "args": escaped_deep(attempt.bare_args),
        **({"files": [escaped_deep(file.entry()) for file in attempt.files]} if attempt.files else {}),
        "tool": _shown_tool(attempt.tool),
        "requestedBy": escaped(spec.requested_by),
        "idempotencyKey": escaped(spec.idempotency_key or ""),
        "goal": escaped(spec.goal),
        "askedBefore": attempt.epoch + attempt.asked_anew,
    }


def _shown_tool(tool: ToolSpec) -> dict[str, Any]:
    """What runs if the answer is yes. Nothing of it is cut: what is not shown would be approved unseen."""
    return {
        "description": escaped(tool.description),
        "image": _shown(tool.image),
        "command": _command(tool.command),
        "effect": tool.effect.value,
        "egress": escaped_deep(list(tool.egress)),
        "secretNames": [_shown(name) for name in tool.secret_names],
        "env": [_shown(_variable(it)) for it in tool.env],
        "runtimeClassName": _shown(tool.runtime_class_name),
    }


def _command(words: tuple[str, ...]) -> list[str]:
    """A command as it is read best: what has several lines goes on in the next entry, after a visible `\\u000a`."""
    lines = [line for word in words for line in _shown(word).replace("\\u000a", "\\u000a\n").split("\n")]
    if len(lines) <= _SHOWN_LINES:
        return lines
    return [part for word in words for part in (_shown(word), *([""] if word.endswith("\n") else []))]


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
    data = {"args": Data(attempt.args)}
    files = {("args", *file.place): file.part for file in attempt.files}

    def told(source: str) -> str:
        part = files.get(path_of(source))
        return f"<{part.length} bytes, in ConfigMap {part.ref.name}>" if part else _told(value(source, data, seen))

    try:
        text = expanded(attempt.tool.approval_summary, "approvalSummary", told)
    except Problem:  # whose words may be the author's
        return escaped(f"{plain} (its approvalSummary has no value for these arguments)")
    return escaped(as_text(text))


def _told(value: Any) -> str:
    """A value inside a summary: quoted unless it is one plain word, so that no value passes for the owner's words."""
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= _TOLD_LENGTH else f'{text[: _TOLD_LENGTH - 1]}…"'
    text = as_text(value)
    return text if len(text) <= _TOLD_LENGTH else f"{text[:_TOLD_LENGTH]}…"


def _why(step: Step, reader: Reader) -> str:
    """The author's reason for this step, as a text."""
    return escaped(as_text(expanded(step.why, "why", reader)))


def is_ours(approval: Approval, question: Demand, run: AgentRun, record: StepStatus | RunStatus) -> bool:
    """Whether an Approval is the one this run asked for, showing what it was asked to show, now and ever.

    What it was asked to show is recorded with the step or the run: a later release may say the same in other words.

    Its generation counts the changes of its spec: it is made, it is decided on, and there may be no others.
    """
    recorded = record.shown_digest if record.approval == question.name else ""
    changes = 1 if approval.spec.decision is None else 2
    return (
        approval.metadata.generation <= changes
        and approval.spec.digest == question.digest
        and approval.spec.run_ref.uid == run.metadata.uid
        and any(reference.uid == run.metadata.uid for reference in approval.metadata.owner_references)
        and approval.spec.request in (question.shown, recorded)
    )


def escaped(text: str) -> str:
    """A text cut to what is shown, with control, bidi and other invisible characters written as `\\uXXXX`."""
    shown = _shown(text[: _SHOWN_LENGTH + 1])
    return shown if len(shown) <= _SHOWN_LENGTH else f"{shown[:_SHOWN_LENGTH]}…"


def _shown(text: str) -> str:
    """The text with what cannot be seen made visible; what looks like an escape already is told apart from one."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(_visible(character) for character in _LOOKS_ESCAPED.sub(r"\\u005c", text))


def _visible(character: str) -> str:
    if character.isprintable() and character not in _HIDDEN:
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
