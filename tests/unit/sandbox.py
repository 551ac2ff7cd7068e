"""A pod without Kubernetes, for tests of what runs inside one."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parents[2] / "sandbox-images/python/agentrun_tool.py"
NONCE = "1f0c9a2b-7d4e-4a55-9c3b-0d6f5a1e2b3c"
MARK = f"agentrun-result/{NONCE} "


@dataclass
class Attempt:
    """What a pod shows of its container after the end."""

    code: int
    stdout: bytes
    stderr: bytes
    termination: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.decode("ascii").splitlines()

    @property
    def result(self) -> Any:
        """The result as the operator reads it, and proof that nothing else is on standard output."""
        said = [line.removeprefix(MARK) for line in self.lines if line.startswith(MARK)]
        assert len(said) == len(self.lines) > 0
        if said[0].startswith("{"):
            return json.loads("".join(said))
        numbers, chunks = zip(*(line.split(" ") for line in said), strict=True)
        assert numbers == tuple(f"{i}/{len(said)}" for i in range(1, len(said) + 1))
        return json.loads(b"".join(map(base64.b64decode, chunks)))


@dataclass
class Pod:
    """A volume for the marker, a termination log, and the environment that the operator sets."""

    volume: Path
    environment: dict[str, str]
    runner: tuple[str, ...] = ()  # a command that runs the entry point
    begun: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def termination_log(self) -> Path:
        return self.volume / "termination-log"

    def file(self, name: str) -> Path:
        return self.volume / name

    def start(self, *command: str, **changes: str | None) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in (self.environment | changes).items() if value is not None}
        command = (*self.runner, str(TOOL), *command)
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, cwd=self.volume, stdout=pipe, stderr=pipe)
        self.begun.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> Attempt:
        stdout, stderr = process.communicate(timeout=20)
        return Attempt(process.returncode, stdout, stderr, self.termination_log.read_text())

    def run(self, *command: str, **changes: str | None) -> Attempt:
        return self.end(self.start(*command, **changes))

    def sh(self, script: str, **changes: str | None) -> Attempt:
        return self.run("sh", "-c", script, **changes)

    def python(self, program: str, **changes: str | None) -> Attempt:
        return self.run(sys.executable, "-IS", "-X", "utf8", "-c", program, **changes)


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AGENTRUN_DIR": str(tmp_path),
        "AGENTRUN_CGROUP": str(tmp_path / "cgroup"),
        "AGENTRUN_TERMINATION_LOG": str(tmp_path / "termination-log"),
        "AGENTRUN_INPUT": json.dumps({"run": {"name": "r"}, "step": "refund", "args": {"order": "4711"}}),
        "AGENTRUN_IDEMPOTENCY_KEY": "5c1f",
        "AGENTRUN_ATTEMPT": "2",
        "AGENTRUN_NOT_AFTER": "2099-01-01T00:00:00.000Z",
        "AGENTRUN_NONCE": NONCE,
    }
    pod = Pod(tmp_path, environment)
    pod.termination_log.touch()
    yield pod
    for process in pod.begun:
        process.kill()
        process.communicate()
