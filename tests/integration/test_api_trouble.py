"""Trouble between the operator and the API server: it backs off, loses nothing, says so, and recovers by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agentruns.cluster import WATCHED

from tests.commands import kubectl
from tests.integration.api_proxy import (
    ALL,
    READS,
    WRITES,
    ApiProxy,
    Harm,
    applied_unanswered,
    ends,
    resets,
    says,
    stays_silent,
    tells,
)
from tests.integration.operator_process import OperatorProcess, kubeconfig
from tests.space import ECHO, Space, step, steps_of
from tests.waiting import until

SECONDS = 8.0
"""For which a trouble lasts: longer than what a fast retry would outlast."""
WATCH = r"[?&]watch=true"
LOG = r"/log\?"
STATUS = r"/agentruns/[^/]+/status"
NO_STREAM = rf"^(?!.*{WATCH})(?!.*follow=true)"
EFFECT = "import json, sys; print('the effect happens', file=sys.stderr, flush=True); print(json.dumps('done'))"
# It may not be repeated: whatever is lost, or not known for certain, would end InDoubt.
NON_IDEMPOTENT = {"effect": "NonIdempotent", "approval": "Never"}


@pytest.fixture
def troubled(
    no_operator_in_the_cluster: None, space: Space, proxy: ApiProxy, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """An operator that works in the space, and reaches the API server through the proxy alone."""
    del no_operator_in_the_cluster
    # No Lease: a leader that cannot renew it ends by itself, and here nothing may.
    process = OperatorProcess(
        tmp_path, access=kubeconfig(proxy.url), watchNamespaces=[space.name], leaderElection=False
    )
    try:
        process.start()
        until(lambda: proxy.streams == len(WATCHED), "everything is watched", 30)
        yield process
    finally:
        process.kill()


def started(space: Space, *runs: str) -> None:
    """Runs of two steps each, whose effects may not be repeated."""
    if not space.find("tools", "effect"):
        space.tool("effect", EFFECT, **NON_IDEMPOTENT)
    for run in runs:
        space.start(run, step("one", "effect"), step("two", "effect"))


def succeeded(space: Space, *runs: str, seconds: float) -> None:
    """All runs succeed within this time, with each effect once."""
    for run in runs:
        status = space.ended(run, seconds)
        assert status["phase"] == "Succeeded", status
        pods = {it["metadata"]["name"] for it in space.pods(run)}
        assert pods == {it["pod"] for it in steps_of(status).values()}
        assert len(pods) == 2
        for pod in pods:
            assert kubectl("logs", "-n", space.name, pod).count("the effect happens") == 1


def lasting(seconds: float, as_long: Callable[[], bool] = lambda: True) -> None:
    """Lets a trouble last; what must hold as long, does."""
    end = time.monotonic() + seconds
    until(lambda: not as_long() or time.monotonic() > end, "it has lasted", seconds + 5)
    assert as_long()


@pytest.mark.parametrize(
    ("what", "most"),
    [
        pytest.param((says(409), "PUT", STATUS), 20, id="409"),
        pytest.param((says(409), WRITES, NO_STREAM), 30, id="409-to-all-writes"),
        pytest.param((says(429, retry_after=3), ALL, NO_STREAM), 20, id="429"),
        pytest.param((says(500), ALL, NO_STREAM), 40, id="500"),
        pytest.param((says(503, retry_after=3), ALL, NO_STREAM), 20, id="503"),
        pytest.param((says(500, "etcdserver: mvcc: database space exceeded"), WRITES, ".*"), 40, id="etcd-full"),
        pytest.param((resets, ALL, NO_STREAM), 40, id="reset"),
    ],
)
def test_what_is_refused_is_tried_later_and_later_and_nothing_is_lost(
    space: Space, proxy: ApiProxy, troubled: OperatorProcess, what: tuple[Harm, str, str], most: int
) -> None:
    started(space, "before")
    space.step_reached("before", "one", "Prepared", "Running", "Succeeded")
    with proxy.trouble(*what) as trouble:
        started(space, "during")
        lasting(SECONDS, troubled.is_live)
    assert 0 < len(trouble.hits) <= most, trouble.hits
    succeeded(space, "before", "during", seconds=30)


def test_writes_that_were_done_but_never_answered_are_done_once(
    space: Space, proxy: ApiProxy, troubled: OperatorProcess
) -> None:
    del troubled
    writes = [("POST", r"/pods$"), ("PUT", STATUS), ("PATCH", r"/pods/")]
    with (
        proxy.trouble(applied_unanswered, *writes[0], 1) as created,
        proxy.trouble(applied_unanswered, *writes[1], 1) as recorded,
        proxy.trouble(applied_unanswered, *writes[2], 1) as let_go,
    ):
        started(space, "unanswered")
        succeeded(space, "unanswered", seconds=120)
    assert [len(it.hits) for it in (created, recorded, let_go)] == [1, 1, 1]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(says(410), id="410"),
        pytest.param(tells(410), id="410-as-event"),
        pytest.param(tells(500), id="500-as-event"),
        pytest.param(says(401), id="401"),
        pytest.param(says(404), id="404"),
        pytest.param(says(429, retry_after=3), id="429"),
        pytest.param(says(503, retry_after=3), id="503"),
        pytest.param(ends, id="dropped"),
        pytest.param(resets, id="reset"),
    ],
)
def test_watches_that_end_are_opened_again_without_haste(
    space: Space, proxy: ApiProxy, troubled: OperatorProcess, harm: Harm
) -> None:
    with proxy.trouble(harm, READS, WATCH) as trouble:
        proxy.cut_streams()
        lasting(SECONDS, troubled.is_live)
        started(space, "unseen")
    assert 0 < len(trouble.hits) <= len(WATCHED) * 6, trouble.hits  # a 401 to one has all wait for a new session
    succeeded(space, "unseen", seconds=30)
    until(troubled.is_ready, "it is ready", 30)


def test_a_watch_that_falls_silent_is_noticed(space: Space, proxy: ApiProxy, troubled: OperatorProcess) -> None:
    proxy.silence_streams()
    started(space, "unseen")
    succeeded(space, "unseen", seconds=60)
    assert troubled.is_live()


def test_watches_that_stay_silent_are_said_by_readiness_and_not_by_liveness(
    space: Space, proxy: ApiProxy, troubled: OperatorProcess
) -> None:
    started(space, "silent")
    with proxy.trouble(stays_silent, READS, WATCH):
        proxy.silence_streams()
        until(lambda: not troubled.is_ready(), "it is not ready", 90)
        assert troubled.is_live()
    until(troubled.is_ready, "it is ready again", 60)
    succeeded(space, "silent", seconds=60)


def test_an_api_server_that_is_away_is_said_by_readiness_and_not_by_liveness(
    space: Space, proxy: ApiProxy, troubled: OperatorProcess
) -> None:
    started(space, "before")
    with proxy.trouble(resets) as trouble:
        proxy.cut_streams()
        until(lambda: not troubled.is_ready(), "it is not ready", 20)
        started(space, "during")
        lasting(SECONDS, lambda: troubled.is_live() and not troubled.is_ready())
    assert len(trouble.hits) <= 150, trouble.hits
    until(troubled.is_ready, "it is ready again", 20)
    succeeded(space, "before", "during", seconds=30)


def test_what_vanished_while_nobody_watched_is_noticed_with_the_next_watch(
    space: Space, proxy: ApiProxy, troubled: OperatorProcess
) -> None:
    del troubled
    space.tool("echo", ECHO)
    space.start("asks", step("first", "echo", approval="Always"))
    asked = space.question("asks")
    with proxy.trouble(resets):
        proxy.cut_streams()
        space.delete("approvals", asked["metadata"]["name"])
        lasting(1)
    with proxy.trouble(tells(410), READS, WATCH, 12):
        again = until(lambda: _other(space, asked["metadata"]["uid"]), "it is asked again", 60)
    assert again["spec"] == asked["spec"]


def _other(space: Space, uid: str) -> dict[str, dict[str, str]] | None:
    found = [it for it in space.all("approvals") if it["metadata"]["uid"] != uid]
    return found[0] if found else None


def test_a_result_that_cannot_be_read_for_a_while_is_not_lost(
    space: Space, proxy: ApiProxy, troubled: OperatorProcess
) -> None:
    del troubled
    space.tool("effect", EFFECT.replace("'done'", "'x' * 6000"), **NON_IDEMPOTENT)  # more than an end's message holds
    with proxy.trouble(says(503), READS, LOG) as trouble:
        started(space, "unread")
        until(lambda: any("follow=false" in it for it in trouble.hits), "the log of a finished pod is asked for")
        lasting(SECONDS)
    assert len(trouble.hits) <= 20, trouble.hits
    succeeded(space, "unread", seconds=60)
