"""Processes that outlive this program: started, written down, found again, stopped."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.cluster.console import ClusterError, Command, output, tail
from tests.cluster.places import LOGS, RUN
from tests.waiting import until

_RECORDS = RUN / "processes"
_SECONDS_TO_END = 3.0


def start(name: str, command: Command) -> None:
    """Starts a process in a session of its own, and records its id and start time."""
    _RECORDS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    with log_of(name).open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/"
        )
    record = {"pid": process.pid, "started": _start_time(process.pid)}
    (_RECORDS / name).write_text(json.dumps(record))


def log_of(name: str) -> Path:
    """Where a process writes its log."""
    return LOGS / f"{name}.log"


def recorded() -> dict[str, int | None]:
    """The recorded processes by name; no id for one that has ended."""
    files = sorted(_RECORDS.iterdir()) if _RECORDS.is_dir() else []
    return {file.name: _living(file) for file in files}


def wait_until(what: str, is_so: Callable[[], bool], seconds: float) -> None:
    """Returns once `is_so`; ClusterError at once, with the end of its log, if a recorded process has ended."""

    def is_so_and_all_live() -> bool:
        for name, pid in recorded().items():
            if pid is None:
                raise ClusterError(f"{name} has ended; the end of {log_of(name)}:\n{tail(log_of(name))}")
        return is_so()

    until(is_so_and_all_live, f"{what}. The logs are in {LOGS}.", seconds)


def stop_recorded() -> None:
    """Stops every recorded process and forgets it."""
    stop(pid for pid in recorded().values() if pid is not None)
    for name in recorded():
        (_RECORDS / name).unlink()


def stop(pids: Iterable[int]) -> None:
    """Asks the processes to end, kills those that do not, and returns when all are gone."""
    identities = {pid: _start_time(pid) for pid in pids}
    _signal(identities, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_END
    while _remaining(identities) and time.monotonic() < deadline:
        time.sleep(0.05)
    kill(_remaining(identities))


def kill(pids: Iterable[int]) -> None:
    """Kills the processes, and returns when all are gone."""
    identities = {pid: _start_time(pid) for pid in pids}
    _signal(identities, signal.SIGKILL)
    until(lambda: not _remaining(identities), "the cluster's processes have ended", 10)


def by_argument(argument: str) -> set[int]:
    """The processes on this machine that were started with this argument."""
    return {pid for pid in _all_pids() if argument in _arguments(pid)}


def expect_free(ports: Iterable[int]) -> None:
    """ClusterError, naming the process, if something listens on one of the ports."""
    for port in ports:
        holder = output(["ss", "-Htlnp", f"sport = :{port}"]).strip()
        if holder:
            raise ClusterError(
                f"port {port} is taken, and not by a cluster that this project has on record:\n  {holder}\n"
                "If it is left over from one, stop it with `kill` and the pid above; then try again."
            )


def _living(record: Path) -> int | None:
    entry = json.loads(record.read_text())
    pid = int(entry["pid"])
    return pid if _start_time(pid) == entry["started"] is not None else None


def _remaining(identities: dict[int, int | None]) -> dict[int, int | None]:
    return {pid: started for pid, started in identities.items() if started and _start_time(pid) == started}


def _signal(identities: dict[int, int | None], number: signal.Signals) -> None:
    for pid in identities:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it has just ended by itself, which is what the signal is for


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _start_time(pid: int) -> int | None:
    """Clock ticks from boot to the process's start, nothing if it has ended: tells a reused id from the old one."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (the state) on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
