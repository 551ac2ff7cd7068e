"""Digests of JSON values and of tuples of strings, and how large and deep a value is."""

import hashlib
import json
from typing import Any, Final

import rfc8785

from agentruns.core.problems import Problem, stored_bytes

MAX_DEPTH: Final = 64


class NotCanonicalError(Problem):
    """A value that has no exact JSON form; the message says what to write instead."""


def canonical(value: Any) -> bytes:
    """The canonical JSON (RFC 8785) of a value, equal for equal values whatever their order of keys."""
    require_flat(value)
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError as error:
        raise NotCanonicalError("has a whole number beyond 2^53, which JSON cannot carry exactly; quote it") from error
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise NotCanonicalError(f"has no exact JSON form: {error}") from error


def require_flat(value: Any) -> None:
    """Raises NotCanonicalError for a value that is nested so deeply that others would feel it."""
    if depth(value) > MAX_DEPTH:
        raise NotCanonicalError(f"is nested more than {MAX_DEPTH} levels deep; flatten it")


def compact(value: Any) -> bytes:
    """The JSON of a value as it is stored, where equal values need not be equal bytes: 1 MiB takes 50 ms, not 500."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise NotCanonicalError(f"has no exact JSON form: {error}") from error


def stored_length(value: Any) -> int:
    """Bytes that a value takes in the cluster's store."""
    return stored_bytes(compact(value))


def digest(value: Any) -> str:
    """`sha256:` and the hex digest of a value's canonical JSON."""
    return digest_of(canonical(value))


def digest_of(data: bytes) -> str:
    """`sha256:` and the hex digest of bytes as they are."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def fingerprint(*parts: str) -> str:
    """A hex SHA-256 over length-prefixed parts: no two different tuples share their bytes, whatever is in them."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode()
        hasher.update(b"%d:" % len(data))
        hasher.update(data)
    return hasher.hexdigest()


def values_in(text: str | bytes | bytearray) -> int:
    """How many values stand within others in a JSON text, at most, counted without reading it."""
    return sum(map(text.count, ",[{")) if isinstance(text, str) else sum(map(text.count, (b",", b"[", b"{")))


def size(value: Any, enough: int) -> int:
    """How many characters and values a JSON value has; counting stops at what is enough."""
    found, pending = 0, [value]
    while pending and found <= enough:
        item = pending.pop()
        found += 1
        if isinstance(item, str):
            found += len(item)
        elif isinstance(item, dict):
            found += sum(map(len, item))
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return found


def depth(value: Any) -> int:
    """How deep a JSON value is nested, without recursion; a scalar is 0. Counting stops past MAX_DEPTH."""
    level, layer = 0, [value]
    while layer and level <= MAX_DEPTH + 1:
        layer = [child for item in layer for child in _children(item)]
        level += 1
    return level - 1


def _children(item: Any) -> list[Any]:
    """The members of an object or an array, with an empty one counted as one level."""
    if isinstance(item, dict):
        return list(item.values()) or [None]
    if isinstance(item, list | tuple):
        return list(item) or [None]
    return []
