"""Arguments too big for a pod's environment: values of stored outputs, which the pod gets as files beside its input."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

from agentruns.core.expressions import Path
from agentruns.core.naming import FILES_DIRECTORY
from agentruns.core.problems import Problem
from agentruns.core.records import OutputRef

MAX_INPUT: Final = 65_536
"""Bytes of AGENTRUN_INPUT: it travels as one environment variable."""
MAX_WHOLE: Final = 4_194_304
"""Bytes that it may have with everything in it, files too: a tool has to hold its arguments."""
MAX_FILES: Final = 32
"""Arguments of one step that are files; each has its entry in the input, and its part of a pod's volume."""
SMALL: Final = 4096
"""Bytes of JSON up to which a value is no file: it would hardly take less room by its name."""


@dataclass(frozen=True)
class Part:
    """A value that is in a stored output, as it is there."""

    step: str
    ref: OutputRef
    place: Path
    value: Any
    length: int
    """Bytes that it takes in a tool's input."""


@dataclass(frozen=True)
class File:
    """An argument that its tool reads from a file: the place of it, and the part of an output that belongs there."""

    place: Path
    part: Part

    def entry(self) -> dict[str, Any]:
        """What the input says of it: all that is needed to put it in its place, and to notice if it was changed."""
        ref = self.part.ref
        return {
            "at": pointer(self.place),
            "path": f"{FILES_DIRECTORY}/{file_name(self.part.step)}",
            "pointer": pointer(self.part.place),
            "configMap": ref.name,
            "key": ref.key,
            "bytes": ref.bytes,
            "digest": ref.digest,
        }


def file_name(step: str) -> str:
    """The file with the output of a step, in the directory of files."""
    return f"{step}.json"


def pointer(place: Path) -> str:
    """A place as a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(it).replace('~', '~0').replace('/', '~1')}" for it in place)


def spliced(value: Any, values: Mapping[Path, Any]) -> Any:
    """The value with others put at these places of it; only what is around them is copied."""
    return reduce(lambda whole, it: _put(whole, *it), values.items(), value)


def _put(whole: Any, place: Path, value: Any) -> Any:
    if not place:
        return value
    inner = _put(whole[place[0]], place[1:], value)
    if isinstance(whole, dict):
        return whole | {place[0]: inner}
    return [inner if at == place[0] else item for at, item in enumerate(whole)]


def handed_over(content: dict[str, Any], parts: Mapping[Path, Part]) -> tuple[dict[str, Any], tuple[File, ...]]:
    """A tool's input that fits into its environment, with as few arguments as files as will do, the largest first.

    In place of each stands null, and beside the arguments what it is: so no argument can pass for a file. What becomes
    a file follows from the arguments alone, so it is the same for every attempt. Problem where too much is left.
    """
    length = len(written(content))
    if length <= MAX_INPUT:
        return content, ()
    files = sorted((File(*it) for it in parts.items()), key=lambda file: (-file.part.length, pointer(file.place)))
    if length > MAX_WHOLE:
        raise Problem(f"{length} bytes of input{_most(files)}; at most {MAX_WHOLE} are taken, files included: {_LESS}")
    taken, left = list[File](), length + len(',"files":[]')
    for file in files:
        if left <= MAX_INPUT:
            break
        taken.append(file)
        left += len(f"{written(file.entry())},null") - file.part.length
    if left > MAX_INPUT:
        raise Problem(f"{left} bytes of input{' beside files' if taken else ''}; at most {MAX_INPUT} fit, {_LESS}")
    if len(taken) > MAX_FILES:
        raise Problem(f"{len(taken)} of them would have to be files; at most {MAX_FILES} can be, {_LESS}")
    args = spliced(content["args"], {file.place: None for file in taken})
    return content | {"args": args, "files": [file.entry() for file in taken]}, tuple(taken)


_LESS: Final = (
    "pass less (what is big goes as a file where an argument is nothing but a path, as in ${steps.x.output.y})"
)


def _most(files: list[File]) -> str:
    return f", {files[0].part.length} of them in args{pointer(files[0].place)}" if files else ""


def written(value: Any) -> str:
    """A value as it stands in a tool's input."""
    return json.dumps(value, separators=(",", ":"))
