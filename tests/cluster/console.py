"""What the person at the terminal sees, and how other programs are run."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

Command: TypeAlias = Sequence[str | Path]

_BEGAN = time.monotonic()
_SECONDS_BETWEEN_REPORTS = 15.0


class ClusterError(Exception):
    """A sentence for the person: what is wrong, and what to do about it."""


def say(words: str) -> None:
    """Prints a line with the seconds since this program began."""
    print(f"[{time.monotonic() - _BEGAN:5.1f}s] {words}", file=sys.stderr, flush=True)


def output(command: Command, stdin: BinaryIO | None = None) -> str:
    """What a quick command prints; ClusterError with its complaint if it fails."""
    try:
        done = subprocess.run(command, stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise ClusterError(f"there is no program {command[0]} on this machine") from missing
    if done.returncode:
        raise ClusterError(f"`{_shown(command)}` failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


def run_long(
    what: str, command: Command, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Runs a command that may take minutes, saying every 15 seconds that it goes on; its output goes to the log."""
    say(f"{what} ...")
    began = reported = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        running = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            while _still_runs(running):
                if time.monotonic() - reported >= _SECONDS_BETWEEN_REPORTS:
                    reported = time.monotonic()
                    say(f"{what}: still at work after {reported - began:.0f} s")
        except BaseException:
            running.kill()
            raise
    if running.returncode:
        raise ClusterError(f"`{_shown(command)}` failed; the end of {log}:\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def _still_runs(running: subprocess.Popen[bytes]) -> bool:
    try:
        running.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        return True
    return False


def _shown(command: Command) -> str:
    return " ".join(str(part) for part in command)
