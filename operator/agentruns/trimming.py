"""Runs and Tools as they are kept in memory: of what is huge its size alone, of what is over what decisions read."""

import json
from typing import Any, Final

from agentruns.core.digests import values_in
from agentruns.core.model import Metadata
from agentruns.core.records import FINAL_PHASES, FORMAT_VERSION, RunStatus
from agentruns.core.resources import AgentRun, OversizedRun, OversizedToolSpec, Tool

MAX_SPEC: Final = 524_288
"""Bytes of a spec; a larger one is refused as a whole."""
MAX_VALUES: Final = 50_000
"""Values in a spec: `{}` has two bytes, and takes sixty-four in memory."""


def trimmed_run(body: dict[str, Any], before: AgentRun | None) -> AgentRun:
    """A run as it is kept: of a huge one only its size, of one that is over nothing that no decision needs."""
    metadata = Metadata.model_validate(body["metadata"])
    if (
        before
        and not _is_newer(body)
        and before.status.format_version <= FORMAT_VERSION
        and (before.metadata.uid, before.metadata.generation) == (metadata.uid, metadata.generation)
    ):
        status = RunStatus.model_validate(body.get("status") or {})  # the spec is the one that is known
        run = before.model_copy(update={"metadata": metadata, "status": status})
    else:
        run = readable_run(body)
    if run.is_final and not _is_newer(body):
        left = run.spec.model_copy(update={"steps": (), "input": {}, "output": {}})
        return run.model_copy(update={"spec": left, "status": _rest(run)})
    return run


def readable_run(body: dict[str, Any]) -> AgentRun:
    """A run with all that may be read of it: of a huge one its size, of one by a later release hardly anything."""
    if _is_newer(body):
        return _newer(body)
    if size := _too_large(body.get("spec")):
        spec = {"steps": [], "desiredState": body["spec"].get("desiredState", "Running")}
        return OversizedRun.model_validate({**body, "spec": spec, "size": size})
    return AgentRun.model_validate(body)


def _is_newer(body: dict[str, Any]) -> bool:
    return ((body.get("status") or {}).get("formatVersion") or 0) > FORMAT_VERSION


def _newer(body: dict[str, Any]) -> AgentRun:
    """A run whose status a later release has written: only that, its task, whether it is over, and conditions are read.

    It counts as begun from its creation on: others of its task wait for it.
    """
    status = {key: body["status"][key] for key in ("formatVersion", "conditions") if key in body["status"]}
    status["startedAt"] = body["metadata"]["creationTimestamp"]
    if body["status"].get("phase") in FINAL_PHASES:
        status["phase"] = body["status"]["phase"]
    spec = {"steps": [], "idempotencyKey": body["spec"].get("idempotencyKey")}
    return AgentRun.model_validate({**body, "spec": spec, "status": status})


def _rest(run: AgentRun) -> RunStatus:
    """What decisions read of a status to which nothing will be written any more; else all of it."""
    if run.status.observed_generation != run.metadata.generation:
        return run.status
    steps = tuple(it.model_copy(update={"output": None, "message": "", "output_ref": None}) for it in run.status.steps)
    return run.status.model_copy(update={"steps": steps, "output": None})


def trimmed_tool(body: dict[str, Any]) -> Tool:
    """A Tool as it is kept: of a huge one only its size."""
    size = _too_large(body.get("spec"))
    if not size:
        return Tool.model_validate(body)
    small = Tool.model_validate({**body, "spec": {"description": "", "image": ""}})
    return small.model_copy(update={"spec": OversizedToolSpec(description="", image="", size=size)})


def _too_large(spec: Any) -> str:
    """How large a spec is that takes more memory than others can spare; empty if it does not."""
    text = json.dumps(spec or {})
    values = values_in(text)
    if len(text) <= MAX_SPEC and values <= MAX_VALUES:
        return ""
    return f"{len(text)} bytes with {values} values, where at most {MAX_SPEC} with {MAX_VALUES} are taken"
