"""The operator's process on this machine, and what it uses."""

import asyncio
import os
from pathlib import Path

from tests import installed


def operator() -> Path:
    """The /proc folder of the operator that leads; LookupError if there is none on this machine."""
    leader = f"POD_NAME={installed.leader()}\0".encode()
    for pid in operators():
        if leader in (of(pid) / "environ").read_bytes():
            return of(pid)
    raise LookupError("no operator process on this machine; these figures need a cluster of one local node")


def operators() -> list[int]:
    """The operators' processes on this machine, whoever leads."""
    numbered = [place for place in Path("/proc").iterdir() if place.name.isdigit()]
    return [int(place.name) for place in numbered if b"agentruns\0--settings" in _command(place)]


def _command(place: Path) -> bytes:
    try:
        return (place / "cmdline").read_bytes()
    except OSError:
        return b""


def of(pid: int) -> Path:
    """The /proc folder of a process."""
    return Path("/proc", str(pid))


async def cpu_share(place: Path, seconds: float) -> float:
    """The percentage of one core that a process uses over this time."""
    before = cpu_seconds(place)
    await asyncio.sleep(seconds)
    return (cpu_seconds(place) - before) / seconds * 100


async def at_rest(place: Path) -> None:
    """Returns once a process has nothing more to do; TimeoutError if it always has."""
    async with asyncio.timeout(300):
        while await cpu_share(place, 5) > 1:
            pass


def cpu_seconds(place: Path) -> float:
    """The processor time that a process has used."""
    fields = (place / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(place: Path) -> float:
    """The resident memory of a process."""
    lines = (place / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
