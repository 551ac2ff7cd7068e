"""The chart's release on the cluster under test: installed with values, and changed for a while."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.places import CHECKOUT, CLUSTER
from tests.commands import helm, tried_helm
from tests.installed import SYSTEM, rolled_out

CHART = CHECKOUT / "charts" / "agentruns"
RELEASE = ("agentruns", f"--namespace={SYSTEM}")

Values = dict[str, Any]


# Installs the chart or upgrades it, taking over what an uninstall keeps, and waits for the operator.
_HOW = ("--install", "--create-namespace", "--take-ownership", "--reset-values", "--wait", "--timeout=3m")
UPGRADE = ("upgrade", *RELEASE, str(CHART), *_HOW)


def install(values: Values) -> None:
    """Installs or upgrades the chart with these values and no others; returns once only its own operators run."""
    helm(*UPGRADE, "--values=-", stdin=json.dumps(values))
    rolled_out()


def values() -> Values:
    """What is set in the release; nothing if there is none."""
    got = tried_helm("get", "values", *RELEASE, "--output=json")
    return (json.loads(got.stdout) or {}) if got.returncode == 0 else {}


@contextmanager
def alone() -> Iterator[None]:
    """Waits for whoever else of this checkout changes the release: each puts back what it has found."""
    with (CLUSTER / "release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def changed(**change: Any) -> Iterator[None]:
    """Some of the values replaced, and afterwards all as they were before."""
    before = values()
    try:
        install(before | change)
        yield
    finally:
        install(before)
