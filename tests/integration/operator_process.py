"""The operator as a process of this machine, with the account it has in the cluster, so that it can be killed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.commands import kubectl
from tests.installed import value_in
from tests.release import SYSTEM
from tests.waiting import until


class OperatorProcess:
    """Starts, is ready, is killed, and starts again."""

    def __init__(self, place: Path, **settings: Any) -> None:
        """Keeps its kubeconfig, its settings and its log in this directory."""
        self._kubeconfig, self._settings, self._log = (place / it for it in ("kubeconfig", "settings.json", "log"))
        self._kubeconfig.write_text(kubeconfig())
        self._metrics, self._health = _free_port(), _free_port()
        ports = {"metricsPort": self._metrics, "healthPort": self._health}
        self._settings.write_text(json.dumps(ports | settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it works."""
        command = [sys.executable, "-m", "agentruns", "--settings", str(self._settings)]
        environment = os.environ | {"KUBECONFIG": str(self._kubeconfig), "POD_NAMESPACE": SYSTEM}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        until(self._is_ready, lambda: f"the operator is ready; its log:\n{self._log.read_text()[-4000:]}", 60)

    @property
    def pid(self) -> int:
        """The id of the process that runs."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def kill(self) -> None:
        """Ends it at once, whatever it is doing; nothing happens if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        return value_in(_fetched(f"http://127.0.0.1:{self._metrics}/metrics"), name)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the operator has ended; its log:\n{self._log.read_text()[-4000:]}"
        try:
            return bool(_fetched(f"http://127.0.0.1:{self._health}/readyz"))
        except OSError:
            return False


def _fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def kubeconfig() -> str:
    """The cluster under test, with a token of the operator's account and nothing else."""
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=json"))
    token = kubectl("create", "token", "agentruns-operator", f"--namespace={SYSTEM}", "--duration=1h").strip()
    config["users"][0]["user"] = {"token": token}
    return json.dumps(config)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
