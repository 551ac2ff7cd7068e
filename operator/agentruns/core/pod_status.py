"""What the API server stores of a pod, read in this operator's terms."""

from datetime import UTC, datetime
from typing import Any, Final

from agentruns.core.naming import (
    ANNOTATION_EPOCH,
    ANNOTATION_INPUT_DIGEST,
    ANNOTATION_NOT_AFTER,
    LABEL_ATTEMPT,
    LABEL_REVISION,
    LABEL_STEP,
    SANDBOX_CONTAINER,
)
from agentruns.core.observed import ContainerEnd, PodSeen
from agentruns.core.patches import END_NOW
from agentruns.core.problems import printable
from agentruns.core.sizes import IMAGE_LENGTH

_LOST: Final = "ContainerStatusUnknown"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR: Final = 9000
_DIGITS: Final = 10


def pod_seen(body: dict[str, Any]) -> PodSeen:
    """A pod as decisions read it; what a pod lacks or misspells reads as absent."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    container = _container(status)
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    return PodSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        step=labels.get(LABEL_STEP, ""),
        attempt=_number(labels.get(LABEL_ATTEMPT, "")),
        epoch=_number(annotations.get(ANNOTATION_EPOCH, "")),
        revision=labels.get(LABEL_REVISION, ""),
        input_digest=annotations.get(ANNOTATION_INPUT_DIGEST, ""),
        owner_uid=_owner(metadata).get("uid", ""),
        owner_name=_owner(metadata).get("name", ""),
        resource_version=metadata["resourceVersion"],
        not_after=_moment(annotations.get(ANNOTATION_NOT_AFTER)) or _EPOCH,
        gated=bool(spec.get("schedulingGates")),
        finalizers=tuple(metadata.get("finalizers") or []),
        deleting="deletionTimestamp" in metadata,
        stopping=spec.get("activeDeadlineSeconds") == END_NOW,
        node=spec.get("nodeName") or "",
        phase=status.get("phase") or "",
        reason=status.get("reason") or _unscheduled(status)[0],
        message=printable(status.get("message") or _unscheduled(status)[1]),
        image=_image(container),
        started_at=_started_at(state),
        waiting_reason=waiting.get("reason") or "",
        waiting_message=printable(waiting.get("message") or ""),
        end=_end(state, container),
        restarted=_restarted(container),
        disrupted=any(it.get("type") == "DisruptionTarget" for it in status.get("conditions") or []),
    )


def _container(status: dict[str, Any]) -> dict[str, Any]:
    found = [it for it in status.get("containerStatuses") or [] if it.get("name") == SANDBOX_CONTAINER]
    return found[0] if found else {}


def _owner(metadata: dict[str, Any]) -> dict[str, Any]:
    owners = [it for it in metadata.get("ownerReferences") or [] if it.get("controller")]
    return owners[0] if owners else {}


def _started_at(state: dict[str, Any]) -> datetime | None:
    """When the container started; one whose program could not be started is reported with the beginning of time."""
    running, terminated = state.get("running") or {}, state.get("terminated") or {}
    found = _moment(
        running.get("startedAt") or (terminated.get("startedAt") if terminated.get("containerID") else None)
    )
    return found if found != _EPOCH else None


def _end(state: dict[str, Any], container: dict[str, Any]) -> ContainerEnd | None:
    """How the container ended; a restart means it ran twice, so that its end says nothing about the first time."""
    terminated = state.get("terminated")
    if not terminated:
        return None
    reason = terminated.get("reason") or ""
    return ContainerEnd(
        exit_code=int(terminated.get("exitCode") or 0),
        reason=reason,
        message=terminated.get("message") or "",
        known=reason != _LOST and not _restarted(container),
        created=bool(terminated.get("containerID") or container.get("containerID")),
        finished_at=_moment(terminated.get("finishedAt")),
    )


def _restarted(container: dict[str, Any]) -> bool:
    """A kubelet that loses a running container counts a restart, even of one that it will not start again."""
    return bool(container.get("restartCount") or (container.get("lastState") or {}).get("terminated"))


def _image(container: dict[str, Any]) -> str:
    """The image that really ran; some runtimes only report an ID, which is kept where there is no name."""
    return str(container.get("imageID") or container.get("image") or "")[-IMAGE_LENGTH:]


def _unscheduled(status: dict[str, Any]) -> tuple[str, str]:
    """Why no node takes the pod; that it was gated a moment ago is no reason."""
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return "Unschedulable", str(condition.get("message") or "")
    return "", ""


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < _DIGITS else 0


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found and found.tzinfo and _EPOCH.year <= found.year < _LAST_YEAR else None
