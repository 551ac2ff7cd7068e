"""The operator as a process of this machine, with the account it has in the cluster, so that it can be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.cluster.places import CHECKOUT
from tests.commands import kubectl
from tests.installed import SYSTEM, value_in
from tests.waiting import until


class OperatorProcess:
    """Starts, is ready, is killed, and starts again."""

    module = "agentruns"
    """Its entry point."""

    def __init__(self, place: Path, pod: str = "operator-process", access: str = "", **settings: Any) -> None:
        """Keeps its kubeconfig, its settings and its log in this directory; after a restart it is the same pod."""
        self._pod = pod
        self._kubeconfig, self._settings, self._log = (place / it for it in ("kubeconfig", "settings.json", "log"))
        self._kubeconfig.write_text(access or kubeconfig())
        self._metrics, self._health = _free_port(), _free_port()
        ports = {"metricsPort": self._metrics, "healthPort": self._health}
        self._settings.write_text(json.dumps(ports | settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it works."""
        self.launch()
        until(self.is_ready, lambda: f"the operator is ready; its log:\n{self.log()[-4000:]}", 60)

    def launch(self, **environment: str) -> None:
        """Returns at once; what it is to do is said by the environment, besides its settings."""
        command = [sys.executable, "-m", self.module, "--settings", str(self._settings)]
        own = {"KUBECONFIG": str(self._kubeconfig), "POD_NAMESPACE": SYSTEM, "POD_NAME": self._pod}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | own | environment, stderr=log, stdout=log, cwd=CHECKOUT
            )

    def log(self) -> str:
        """All that it has logged so far, over all its starts."""
        return self._log.read_text()

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

    def stop(self) -> None:
        """Has it end as Kubernetes does, in good order; nothing happens if it does not run."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            finally:
                self.kill()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    @property
    def leads(self) -> bool:
        """Whether it works, and does not stand by."""
        return self.metric("agentruns_leader") == 1

    def serves(self, name: str) -> bool:
        """Whether it tells any value of this metric."""
        return f"\n{name}" in _fetched(f"http://127.0.0.1:{self._metrics}/metrics")

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        return value_in(_fetched(f"http://127.0.0.1:{self._metrics}/metrics"), name)

    def is_ready(self) -> bool:
        """Whether the readiness probe succeeds; it fails this test if the process has ended."""
        return self._probe("readyz")

    def is_live(self) -> bool:
        """Whether the liveness probe succeeds; it fails this test if the process has ended."""
        return self._probe("healthz")

    def _probe(self, path: str) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the operator has ended; its log:\n{self.log()[-4000:]}"
        try:
            return bool(_fetched(f"http://127.0.0.1:{self._health}/{path}"))
        except OSError:
            return False


def _fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def kubeconfig(server: str = "", lasting: str = "1h") -> str:
    """The cluster under test, or the server in front of it, with a token of the operator's account and nothing else."""
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=json"))
    token = kubectl("create", "token", "agentruns-operator", f"--namespace={SYSTEM}", f"--duration={lasting}").strip()
    config["users"][0]["user"] = {"token": token}
    if server:
        config["clusters"][0]["cluster"] = {"server": server}
    return json.dumps(config)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
