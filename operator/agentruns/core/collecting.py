"""What runs share, and when it may go: pinned Tools and the network rules they open, in two phases.

What nobody uses is marked first, and deleted only if nobody has used it for a while after. Whoever needs what is marked
takes the mark off before anything depends on it, and a deletion is for the marked version alone. So what was just found
to be unused can be in use a moment later, and stays.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agentruns.core.naming import DENY_ALL_POLICY, LABEL_UNUSED_SINCE, Key, egress_name
from agentruns.core.records import FINAL_PHASES, FORMAT_VERSION

YOUNG: Final = timedelta(hours=24)
"""Age up to which nothing is marked: what was needed today may be needed again."""
MARKED_FOR: Final = timedelta(hours=1)
"""How long something must have been marked: longer than any pass that looked before the mark goes on."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shared:
    """A ControllerRevision or NetworkPolicy of this operator; nothing else is kept of it."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str
    created_at: datetime
    unused_since: datetime | None
    """When it was marked as unused; None as long as it is not."""


@dataclass(frozen=True)
class Mark:
    """Say of something that nobody uses it, if it is as it was looked at."""

    what: Shared
    since: datetime


@dataclass(frozen=True)
class Unmark:
    """Take back that nobody uses something."""

    what: Shared


@dataclass(frozen=True)
class Delete:
    """Delete something that nobody used for a while, if it is as it was looked at."""

    what: Shared


def shared(body: dict[str, Any]) -> Shared:
    """An object as it is kept."""
    metadata = body["metadata"]
    mark = (metadata.get("labels") or {}).get(LABEL_UNUSED_SINCE)
    return Shared(
        kind=body["kind"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        unused_since=None if mark is None else _moment(mark),
    )


def mark_of(moment: datetime) -> str:
    """A moment as a label can carry it, in seconds."""
    return str(int(moment.timestamp()))


def with_mark(body: dict[str, Any], mark: str | None, **metadata: str) -> dict[str, Any]:
    """An object marked as unused, or with None not any more, for the API server to take in the place of the old one.

    The whole of it, though a patch would say less: the API server writes what it patches anew, and then finds that the
    content of a ControllerRevision, which may not change, has other spaces.
    """
    labels = {key: value for key, value in (body["metadata"].get("labels") or {}).items() if key != LABEL_UNUSED_SINCE}
    marked = labels if mark is None else labels | {LABEL_UNUSED_SINCE: mark}
    return body | {"metadata": body["metadata"] | metadata | {"labels": marked}}


def _moment(mark: str) -> datetime:
    """The moment of a mark; one that cannot be read has not been there for long enough, and never will."""
    try:
        return datetime.fromtimestamp(int(mark), UTC)
    except (ValueError, OverflowError, OSError):
        return _NEVER


def used_by(runs: Iterable[dict[str, Any]]) -> set[str] | None:
    """The names of all that unfinished runs use; None if a run of a newer release is there, which may use anything."""
    names = set[str]()
    for run in runs:
        status = run.get("status") or {}
        if status.get("formatVersion", 0) > FORMAT_VERSION:
            return None
        if status.get("phase") not in FINAL_PHASES:
            for pin in status.get("tools") or []:
                names |= names_for(pin["revision"])
    return names


def names_for(revision: str) -> set[str]:
    """The names of what a run has that pinned a revision: that itself, and the network rules of its Tool."""
    return {revision, egress_name(revision)}


def collected(known: Iterable[Shared], used: Collection[Key], now: datetime) -> list[Mark | Unmark | Delete]:
    """What is to be done about shared objects, given namespace and name of those in use."""
    actions = list[Mark | Unmark | Delete]()
    for it in known:
        if it.name == DENY_ALL_POLICY:
            continue
        if (it.namespace, it.name) in used:
            actions += [Unmark(it)] if it.unused_since else []
        elif it.unused_since is None:
            actions += [Mark(it, now)] if now - it.created_at >= YOUNG else []
        elif now - it.unused_since >= MARKED_FOR:
            actions.append(Delete(it))
    return actions
