"""The claim of a task, as it is stored: which run holds the task, and what came of it. It outlives that run."""

import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from agentruns.core.digests import compact, digest_of, require_flat
from agentruns.core.model import Model, Timestamp
from agentruns.core.naming import LABEL_MANAGED_BY, LABEL_TASK, MANAGER, claim_name
from agentruns.core.problems import within
from agentruns.core.questions import Lost
from agentruns.core.records import RecordedDecision
from agentruns.core.resources import AgentRun

_NOT_THE_TASK: Final = {"desired_state", "ttl_after_finished", "requested_by"}
"""What of a spec does not say what is to be done."""


class ClaimState(StrEnum):
    """Whether the task is under way, or the phase that its run has come to."""

    IN_FLIGHT = "InFlight"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Effects(StrEnum):
    """Whether anything but reading was done, or may have been."""

    NONE = "None"
    POSSIBLE = "Possible"


def _read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


class Claim(Model):
    """Who holds a task and what came of it; each field is a text in the ConfigMap's data."""

    task: str
    """The idempotencyKey, for people: the name has only its hash."""
    run: str
    run_uid: str
    digest: str
    state: ClaimState
    effects: Effects
    effects_before: Effects = Effects.NONE
    """What earlier holders did or may have done, over which a person let this one have the task."""
    reason: str = ""
    message: str = ""
    output: str = ""
    """The run's output, as JSON text."""
    decision: Annotated[RecordedDecision | None, BeforeValidator(_read)] = None
    """By which this run has the task, where the run that held it before was gone."""
    finished_at: Timestamp | None = None
    last_used_at: Timestamp | None = None
    """When it was last seen that a run of the task counts on this claim, after its own run had ended."""
    resource_version: str = ""

    @property
    def is_undone(self) -> bool:
        """Whether nothing was done under it but reading, to no result: once its run is over, any may have the task."""
        return self.effects is Effects.NONE and self.state is not ClaimState.SUCCEEDED

    def used(self, now: datetime) -> "Claim":
        """The claim with the note that a run counts on it."""
        return self.model_copy(update={"last_used_at": now})

    def unused_for(self, now: datetime) -> timedelta:
        """How long nobody is known to have counted on it; no time at all for one in flight."""
        if self.state is ClaimState.IN_FLIGHT or self.finished_at is None:
            return timedelta(0)
        return now - max(self.finished_at, self.last_used_at or self.finished_at)

    @property
    def result(self) -> Any:
        """The run's output; None if it has none."""
        return json.loads(self.output) if self.output else None

    def says_the_same(self, other: "Claim") -> bool:
        """Whether two claims differ in nothing but words and times."""
        words = {"message": "", "finished_at": None, "last_used_at": None, "resource_version": ""}
        return self.model_copy(update=words) == other.model_copy(update=words)


def read_claim(body: dict[str, Any]) -> Claim | Lost:
    """The claim that a ConfigMap holds; Lost where it is not one that this operator has written."""
    metadata = body["metadata"]
    if (metadata.get("labels") or {}).get(LABEL_MANAGED_BY) != MANAGER:
        return Lost(f"a ConfigMap {metadata['name']} of somebody else is there")
    try:
        claim = Claim.model_validate({**(body.get("data") or {}), "resourceVersion": metadata["resourceVersion"]})
        _read(claim.output or "null")
        return claim
    except (ValueError, RecursionError):
        return Lost(f"ConfigMap {metadata['name']} is there and cannot be read as the claim of a task")


def claim_manifest(namespace: str, claim: Claim) -> dict[str, Any]:
    """The ConfigMap that holds a claim. No run owns it; people find all of them by their label."""
    name = claim_name(namespace, claim.task)
    fields = claim.model_dump(mode="json", by_alias=True, exclude={"resource_version"}, exclude_defaults=True)
    data = {key: it if isinstance(it, str) else compact(it).decode() for key, it in fields.items()}
    version = {"resourceVersion": claim.resource_version} if claim.resource_version else {}
    labels = {LABEL_MANAGED_BY: MANAGER, LABEL_TASK: name[-16:]}
    metadata = {"name": name, "namespace": namespace, "labels": labels, **version}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def task_digest(run: AgentRun) -> str:
    """The digest of what a run is to do; Problem where its spec is nested too deeply. A field's default counts for it.

    So a release that adds a field takes no run of a task for another one.
    """
    spec = run.spec
    _require_flat("input", spec.input)
    for place, step in enumerate(spec.steps):
        with within(f"steps[{place}] ({step.name})"):
            _require_flat("args", step.args)
    _require_flat("output", spec.output)
    content = spec.model_dump(mode="json", by_alias=True, exclude=_NOT_THE_TASK, exclude_defaults=True)
    return digest_of(json.dumps(content, sort_keys=True).encode())


def _require_flat(field: str, value: Any) -> None:
    with within(field):
        require_flat(value)
