#!/usr/bin/env -S python3 -IS
"""agentrun-tool PROGRAM [ARG...]: runs a plain program as one attempt of a step, and tells the operator how it ended.

The program finds its arguments as JSON on standard input and prints its output as JSON; standard error is its log.
Exit 0 is success, 75 Transient, 65 Permanent, anything else Unknown. README.md beside this file says more.
"""

import binascii  # every step waits for these imports: a few light ones, and no site-packages (-IS above)
import json
import os
import re
import select
import signal
import sys
import time
from contextlib import suppress

MARK = b"agentrun-result/"
CLASSES = {75: "Transient", 65: "Permanent"}

MAX_RESULT = 1024 * 1024  # of what the program prints, and of the JSON made of it
MAX_FILE = 1024 * 1024  # of an output that comes as a file
MAX_ARGUMENTS = 8 * 1024 * 1024  # of JSON for the program, written with spaces: 4 MiB without (the contract)
MAX_INLINE = 8 * 1024  # of JSON in one line; more goes in chunks
CHUNK = 9000  # with base64, mark and numbers a line of at most 12 KiB
MAX_TERMINATION = 3 * 1024  # the kubelet cuts at 4 KiB
MAX_MESSAGE = 1024
MAX_RETRY_AFTER = 86_400  # seconds
MAX_LOG_LINE = 8 * 1024  # and one READ: under the 16 KiB at which container runtimes cut a line in two
READ = 4 * 1024


class StartError(Exception):
    """Nothing was begun. The exit code 75 says that another attempt may do better."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class OutputError(Exception):
    """The program exited with 0, but what it printed is no result. Tells sizes and places, never contents."""


class Output:
    """What the program wrote to standard output: counted, and kept up to MAX_RESULT."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.size = 0

    def take(self, data: bytes) -> None:
        self.size += len(data)
        self.kept += data[: MAX_RESULT - len(self.kept)]


class Log:
    """Passes the program's standard error on, in whole lines of bounded length, none to be taken for a result.

    A line that the runtime had to cut could swallow the beginning of the result line: both end up in one log.
    """

    def __init__(self) -> None:
        self.line = b""
        self.tail = b""

    def take(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-2 * MAX_MESSAGE :]
        lines, newline, self.line = (self.line + data).rpartition(b"\n")
        if self.line and (not data or len(self.line) > MAX_LOG_LINE):
            lines, newline, self.line = lines + newline + self.line, b"\n", b""
        write(2, (lines + newline).replace(MARK, b"> " + MARK))

    def last_line(self) -> str:
        lines = self.tail.decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "")


def main(command: list[str]) -> int:
    """The exit code: 0, the program's own, 128 and the signal that ended it, or that of a refusal."""
    nonce = os.environ.pop("AGENTRUN_NONCE", "")  # so that a program that prints its environment prints no result
    try:
        if not claimed():
            print("agentrun-tool: refusing to run twice", file=sys.stderr)
            return 70
        code, output, log = run(command, checked_arguments(command, nonce))
        publish(nonce, failure(code, output, log) if code else success(output))
        return code if code >= 0 else 128 - code
    except StartError as reason:
        print(f"agentrun-tool: {reason}", file=sys.stderr)
        if nonce:
            publish(nonce, error("Transient" if reason.code == 75 else "Permanent", str(reason)))
        return reason.code
    except OutputError as reason:
        print(f"agentrun-tool: {reason}", file=sys.stderr)
        write_termination_message(encoded({"invalid": str(reason)}))
        return 0


def claimed() -> bool:
    """True once in the life of a pod, over restarts of its container and crashes of its node.

    Comes before everything else: only who made the marker can know, and say, that nothing was begun.
    """
    directory = os.environ.get("AGENTRUN_DIR", "/agentrun")
    try:
        for path, flags in ((f"{directory}/once", os.O_CREAT | os.O_EXCL), (directory, os.O_RDONLY)):
            end = os.open(path, flags)
            os.fsync(end)
            os.close(end)
    except FileExistsError:
        return False
    except OSError as reason:
        raise StartError(75, f"{directory} must be a writable volume: {reason.strerror}") from None
    return True


def checked_arguments(command: list[str], nonce: str) -> bytes:
    """The step's arguments as JSON, if everything is there and it is not too late to begin."""
    if not command:
        raise StartError(64, "there is no program to run: set the Tool's command")
    if not nonce:
        raise StartError(64, "AGENTRUN_NONCE is missing")
    try:
        content = json.loads(os.environb[b"AGENTRUN_INPUT"])
        arguments, files = content["args"], content.get("files")
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        arguments = files = None
    if not isinstance(arguments, dict):
        raise StartError(64, "AGENTRUN_INPUT must be a JSON object with an object `args`")
    text = completed(arguments, files) if files else json.dumps(arguments)
    not_after = os.environ.get("AGENTRUN_NOT_AFTER", "")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", not_after, re.ASCII):
        raise StartError(64, "AGENTRUN_NOT_AFTER must be a time like 2026-01-02T03:04:05Z")
    if time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) >= not_after[:19]:
        raise StartError(75, f"too late to begin: it is after {not_after}")
    return text.encode()


def completed(arguments: dict, files: list) -> str:
    """The arguments as JSON, those that come as files in their places: as if everything had fitted into the input.

    The values are put in as texts, one file after the other, so that only one is held as more than its text.
    """
    try:
        values = {file["at"]: file_content(file) for file in files}
        text = joined(arguments, "", values)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        values = text = None
    if values != {} or len(text) > MAX_ARGUMENTS:  # what has found its place is taken out
        raise StartError(64, "AGENTRUN_INPUT names files in a way that does not fit its arguments")
    return text


def file_content(file: dict) -> str:
    """A value from a file as JSON, its keys in order as the operator has them; nothing is begun if it was changed."""
    from hashlib import sha256  # noqa: PLC0415 - few steps have files

    path, config_map = file["path"], f"ConfigMap {file['configMap']}"
    try:
        data = os.read(os.open(path, os.O_RDONLY), MAX_FILE + 1)
    except OSError as reason:
        raise StartError(65, f"{config_map} cannot be read at {path}: {reason.strerror}; nothing was begun") from None
    if f"sha256:{sha256(data).hexdigest()}" != file["digest"]:
        raise StartError(65, f"{config_map} is not what was stored: its digest differs; nothing was begun")
    value = json.loads(data)
    for word in file["pointer"].split("/")[1:]:
        value = value[int(word)] if isinstance(value, list) else value[word.replace("~1", "/").replace("~0", "~")]
    return json.dumps(value, sort_keys=True)


def joined(value: object, at: str, values: dict) -> str:
    """A value as JSON, with these texts in the places that they are for, each of which has null."""
    if at in values:
        if value is not None:
            raise ValueError
        return values.pop(at)
    if isinstance(value, dict):
        below = ((key, f"{at}/{key.replace('~', '~0').replace('/', '~1')}", item) for key, item in value.items())
        return "{" + ", ".join(f"{json.dumps(key)}: {joined(item, place, values)}" for key, place, item in below) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(joined(item, f"{at}/{index}", values) for index, item in enumerate(value)) + "]"
    return json.dumps(value)


def run(command: list[str], arguments: bytes) -> tuple[int, Output, Log]:
    """Runs the program and ends all it left behind: its exit code (negative: a signal) and what it printed."""
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    program = started(command, arguments, out_end, err_end)
    os.close(out_end)
    os.close(err_end)
    output, log = Output(), Log()
    takers: dict[int, Output | Log] = {out: output, err: log}
    code = followed(program, takers)
    end_everything(program)
    for end, taker in takers.items():
        take_the_rest(end, taker)
    log.take(b"")  # ends the last line
    return code, output, log


def started(command: list[str], arguments: bytes, out: int, err: int) -> int:
    """The process ID of the program; it leads a process group, to which signals are passed on."""
    stdin = os.memfd_create("arguments")  # a pipe would have to be fed while the program runs
    write(stdin, arguments)
    os.lseek(stdin, 0, os.SEEK_SET)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        program = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate((stdin, out, err))],
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores, and would hand down
        )
    except OSError as reason:
        raise StartError(127, f"cannot start {command[0]}: {reason.strerror}") from None
    signal.signal(signal.SIGTERM, lambda number, _: kill(-program, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    return program


def followed(program: int, takers: dict[int, Output | Log]) -> int:
    """The program's exit code, as soon as it has ended: others may hold its pipes open for longer."""
    wake, wake_end = os.pipe()
    os.set_blocking(wake_end, False)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler it would not wake us
    poll = select.poll()
    for end in (*takers, wake):
        poll.register(end, select.POLLIN)
    while (code := exit_code(program)) is None:
        for end, _ in poll.poll():
            data = os.read(end, READ)
            if end in takers:
                takers[end].take(data)
            if not data:
                poll.unregister(end)
    return code


def exit_code(program: int) -> int | None:
    """The program's exit code, if it has ended. Buries orphans, too: process 1 inherits them."""
    while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
        if ended[0] == program:
            return os.waitstatus_to_exitcode(ended[1])
    return None


def end_everything(program: int) -> None:
    """Ends what the program left in its process group; as process 1 of a container, all there is."""
    kill(-1 if os.getpid() == 1 else -program, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.wait()


def kill(target: int, number: int) -> None:
    """Sends a signal to what may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(target, number)


def take_the_rest(end: int, taker: Output | Log) -> None:
    """Takes what is in the pipe; a process that got away and holds it open is not waited for."""
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        for _ in range(MAX_RESULT // READ):  # as much as a pipe can hold
            if not (data := os.read(end, READ)):
                return
            taker.take(data)


def success(output: Output) -> bytes:
    """The result of a program that exited with 0."""
    if not output.size:
        raise OutputError("nothing on standard output; print null if there is nothing to say")
    try:
        result = encoded({"output": json.loads(output.kept.decode())}) if output.size <= MAX_RESULT else b""
    except UnicodeDecodeError as reason:
        raise OutputError(f"standard output is not UTF-8 (byte {reason.start})") from None
    except (ValueError, RecursionError) as reason:
        known = isinstance(reason, json.JSONDecodeError)
        place = f"line {reason.lineno}, column {reason.colno}" if known else "too deep, or a number too long"
        raise OutputError(f"standard output is not one JSON value ({place})") from None
    if (size := max(output.size, len(result))) > MAX_RESULT:
        raise OutputError(f"the result is {size} bytes; at most {MAX_RESULT} are taken")
    return result


def failure(code: int, output: Output, log: Log) -> bytes:
    """The result of a program that failed: in its own words, if it printed an error, else the end of its log."""
    ended = f"exit code {code}" if code > 0 else f"ended by signal {-code} ({signal.strsignal(-code)})"
    if code == -signal.SIGKILL and out_of_memory():
        ended = "out of memory: the limit is resources.limits.memory of the Tool"
    message = log.last_line()
    if not (message and code in CLASSES):
        message = f"{ended}: {message or 'nothing on standard error'}"
    details = {}
    with suppress(AttributeError, LookupError, TypeError, ValueError, RecursionError):
        stated = json.loads(output.kept)["error"]
        if isinstance(stated.get("message"), str):
            message = stated["message"]
        if 0 <= stated["retryAfter"] <= MAX_RETRY_AFTER:
            details["retryAfter"] = stated["retryAfter"]
    return error(CLASSES.get(code, "Unknown"), message, **details)


def out_of_memory() -> bool:
    """Whether the kernel has killed a process of this container for want of memory; asked where cgroups say so."""
    group = os.environ.get("AGENTRUN_CGROUP", "/sys/fs/cgroup")
    for path in (f"{group}/memory.events", f"{group}/memory/memory.oom_control"):  # cgroups of version 2, of version 1
        with suppress(OSError):
            return re.search(rb"^oom_kill [1-9]", os.read(os.open(path, os.O_RDONLY), READ), re.MULTILINE) is not None
    return False


def error(error_class: str, message: str, **details: float) -> bytes:
    """An error result, with a message of one printable line."""
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(message.split()))
    line = line.encode()[:MAX_MESSAGE].decode(errors="ignore")
    return encoded({"error": {"class": error_class, "message": line} | details})


def encoded(value: object) -> bytes:
    """Compact JSON in ASCII, so that no character in it can break or disguise a line."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def publish(nonce: str, result: bytes) -> None:
    """Says the result. The termination message comes first: whoever has read the line may stop this process."""
    start = MARK + nonce.encode() + b" "
    lines = [start + result]
    if len(result) > MAX_INLINE:
        chunks = [binascii.b2a_base64(result[at : at + CHUNK], newline=False) for at in range(0, len(result), CHUNK)]
        lines = [start + b"%d/%d " % (number, len(chunks)) + chunk for number, chunk in enumerate(chunks, 1)]
    message = lines[0]
    if len(message) > MAX_TERMINATION:
        from hashlib import sha256  # noqa: PLC0415 - only large results wait for this

        message = encoded({"digest": f"sha256:{sha256(result).hexdigest()}", "bytes": len(result)})
    write_termination_message(message)
    for line in lines:  # nothing else ever goes to standard output, so each begins a line there
        write(1, line + b"\n")


def write_termination_message(message: bytes) -> None:
    """Leaves a message in the pod's status, where it survives the log."""
    path = os.environ.get("AGENTRUN_TERMINATION_LOG", "/dev/termination-log")
    with suppress(OSError):  # outside of a pod there is none; the line is what counts
        write(os.open(path, os.O_WRONLY | os.O_TRUNC), message)


def write(end: int, data: bytes) -> None:
    """Writes all of the data, in one call unless a signal comes between."""
    while data:
        data = data[os.write(end, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
