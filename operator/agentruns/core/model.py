"""What every model of this operator shares: frozen, camelCase outside, with Kubernetes' own metadata and times."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from agentruns.core.digests import digest, require_flat
from agentruns.core.problems import Problem

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def duration(text: str) -> timedelta:
    """The length of a duration such as `1h30m`; ValueError unless it is hours, minutes and seconds."""
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{text!r} is not a duration; write it like 30s, 5m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _to_timedelta(value: Any) -> Any:
    return duration(value) if isinstance(value, str) else value


def rfc3339(moment: datetime) -> str:
    """A moment in UTC with milliseconds, as the status carries it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_seconds(moment: datetime) -> str:
    """A moment in UTC without fractions, as `AGENTRUN_NOT_AFTER` carries it."""
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def in_seconds(length: timedelta) -> str:
    """A duration as `spec` may have it."""
    return f"{int(length.total_seconds())}s"


def earliest(moments: Iterable[datetime | None]) -> datetime | None:
    """The first of the moments that are there."""
    return min((it for it in moments if it is not None), default=None)


Duration = Annotated[
    timedelta, BeforeValidator(_to_timedelta), PlainSerializer(in_seconds, return_type=str, when_used="json")
]
Timestamp = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]


_NOT_TOLD: Final = set[str]()


class Model(BaseModel):
    """A part of a resource: camelCase outside, frozen inside; what a newer version added is left aside."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    def model_post_init(self, _: Any) -> None:
        """Nobody asks which fields were given: sets of their names would be half of what thousands of runs take."""
        object.__setattr__(self, "__pydantic_fields_set__", _NOT_TOLD)


class Strict(Model):
    """What only a person writes: a misspelt key is refused."""

    model_config = ConfigDict(extra="forbid")


class Status(Model):
    """What the operator writes of a resource."""

    def body(self) -> dict[str, Any]:
        """The status as the API server stores it; nothing stands for what is empty."""
        return _without_empty(self.model_dump(mode="json", by_alias=True))


class Condition(Model):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: Timestamp
    observed_generation: int = 0


_EXACT: Final = 2**53
SHOWN_FIELDS: Final = ("summary", "args", "why", "tool", "goal")


def shown_digest(request: Any) -> Any:
    """The digest of what an approver goes by in a request; anything else is taken for one already."""
    if not isinstance(request, dict):
        return request
    files = {"files": request["files"]} if request.get("files") else {}  # few have any, and none had before there were
    shown = {field: request.get(field) or "" for field in SHOWN_FIELDS} | files
    require_flat(shown)
    return digest(_as_read_back(shown))


def _as_read_back(value: Any) -> Any:
    """A value with its large whole numbers as text: the API server gives `1e17` back as digits, which are not exact."""
    match value:
        case dict():
            return {key: _as_read_back(it) for key, it in value.items()}
        case list() | tuple():
            return [_as_read_back(it) for it in value]
        case int() if abs(value) >= _EXACT:
            return str(value)
        case float() if abs(value) >= _EXACT and value.is_integer():
            return str(int(value))
    return value


def _shown_by_anybody(request: Any) -> Any:
    """The same of an Approval that anybody may have made: what has no digest is not what any run asks."""
    try:
        return shown_digest(request)
    except Problem:
        return "none"


Shown = Annotated[str, BeforeValidator(_shown_by_anybody)]
"""What an Approval shows, by its digest: thousands of them are kept, and only compared."""


Unread = Annotated[None, BeforeValidator(lambda _: None)]
"""What is published and not kept: it may have a megabyte, and is read when it is needed."""


class OwnerReference(Model):
    uid: str


class Metadata(Model):
    name: str
    namespace: str
    uid: str
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Timestamp
    deletion_timestamp: Timestamp | None = None
    owner_references: tuple[OwnerReference, ...] = ()


_EMPTY: Final[tuple[Any, ...]] = ("", [], {})


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    """A status without its empty fields; what a tool returned (`output`) is carried as it is."""
    kept = {key: _pruned(key, item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item is not None and (key == "output" or item not in _EMPTY)}


def _pruned(key: str, item: Any) -> Any:
    if key == "output":
        return item
    if isinstance(item, dict):
        return _without_empty(item)
    if isinstance(item, list):
        return [_without_empty(entry) if isinstance(entry, dict) else entry for entry in item]
    return item
