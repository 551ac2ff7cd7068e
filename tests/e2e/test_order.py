"""Which steps run, when, and what follows if one does not end well."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.accounts import Body
from tests.space import ECHO, Space, says, step, steps_of

SLEEP = "import time; time.sleep(2); print('null')"
TWO_SECONDS = "import time; time.sleep(1.6); print('null')"  # with its pod around it, a step of a little over two
DIAMONDS = ("diamond", "diamond-again", "diamond-once-more")
FAIL = "import sys; print('there is no such order', file=sys.stderr); sys.exit(65)"
RULE = {"expression": "result.receipt.startsWith('R-')", "message": "the provider gave no receipt"}


@pytest.fixture(scope="module")
def ended(shared_space: Space) -> dict[str, Body]:
    """How every run of this module ended, by name; what is timed first, by itself."""
    space = shared_space
    programs = {"echo": ECHO, "sleep": SLEEP, "two": TWO_SECONDS, "fail": FAIL, "receipt": says({"receipt": "X-99"})}
    for name, program in programs.items():
        space.tool(name, program)
    sides = [step(side, "two", needs=["first"]) for side in ("left", "right")]
    first, last = step("first", "echo"), step("last", "echo", needs=["left", "right"])
    for name in DIAMONDS:
        space.start(name, first, *sides, last, order="Graph")
        space.ended(name)
    space.start("narrow", *(step(f"s{n}", "sleep") for n in range(3)), order="Graph", parallelism=1)
    seen = {"state": "${steps.before.state}", "output": "${steps.before.output}"}
    after = step("after", "echo", args=seen)
    wanted = {"input": {"wanted": False}, "output": {"before": "${steps.before.output}"}}
    space.start("skips", step("before", "echo", when="run.input.wanted"), after, **wanted)
    space.start("goes-on", step("before", "fail", onFailure="Continue"), after)
    space.start("stops", step("before", "fail"), after)
    space.start("verifies", step("before", "receipt", verify=[RULE]), after)
    space.start("no-output", step("before", "echo"), output={"receipt": "${steps.before.output.receipt}"})
    names = (*DIAMONDS, "narrow", "skips", "goes-on", "stops", "verifies", "no-output")
    return {name: space.ended(name) for name in names}


def times(status: Body, name: str) -> tuple[datetime, datetime]:
    """When a step began and ended."""
    record = steps_of(status)[name]
    return datetime.fromisoformat(record["startedAt"]), datetime.fromisoformat(record["finishedAt"])


def states(status: Body) -> dict[str, str]:
    return {name: record["state"] for name, record in steps_of(status).items()}


def test_the_two_sides_of_a_diamond_run_at_once(ended: dict[str, Body]) -> None:
    left, right = (times(ended["diamond"], side) for side in ("left", "right"))
    assert max(left[0], right[0]) < min(left[1], right[1])
    both = max(left[1], right[1]) - min(left[0], right[0])
    assert both < (left[1] - left[0]) + (right[1] - right[0]) - timedelta(seconds=1)
    assert times(ended["diamond"], "first")[1] <= min(left[0], right[0])
    assert max(left[1], right[1]) <= times(ended["diamond"], "last")[0]
    assert ended["diamond"]["phase"] == "Succeeded"


def test_a_diamond_of_two_steps_of_two_seconds_takes_well_under_four(ended: dict[str, Body]) -> None:
    """All four of its pods take less than its sides alone would one after the other, which is more than four seconds.

    As a share of that, since how long a pod takes is the machine's; the best of three, since others work on it too.
    """
    shares = []
    for name in DIAMONDS:
        began, finished = (datetime.fromisoformat(ended[name][it]) for it in ("startedAt", "finishedAt"))
        sides = [end - start for start, end in (times(ended[name], side) for side in ("left", "right"))]
        assert all(side >= timedelta(seconds=2) for side in sides)
        shares.append((finished - began) / sum(sides, timedelta()))
    assert min(shares) < 0.9, shares


def test_no_more_steps_run_at_once_than_the_run_allows(ended: dict[str, Body]) -> None:
    spans = sorted(times(ended["narrow"], f"s{n}") for n in range(3))
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert ended["narrow"]["phase"] == "Succeeded"


def test_a_skipped_step_has_no_pod_and_a_null_output(ended: dict[str, Body], shared_space: Space) -> None:
    status = ended["skips"]
    assert states(status) == {"before": "Skipped", "after": "Succeeded"}
    assert steps_of(status)["after"]["output"] == {"state": "Skipped", "output": None}
    assert (status["phase"], status["progress"], status["output"]) == ("Succeeded", "2/2", {"before": None})
    assert shared_space.pods("skips", "before") == []


def test_a_run_goes_on_after_a_failure_that_it_allows(ended: dict[str, Body]) -> None:
    status = ended["goes-on"]
    assert states(status) == {"before": "Failed", "after": "Succeeded"}
    assert steps_of(status)["after"]["output"] == {"state": "Failed", "output": None}
    assert status["phase"] == "Succeeded"


def test_a_failed_step_ends_the_run_and_says_why(ended: dict[str, Body], shared_space: Space) -> None:
    status = ended["stops"]
    assert (status["phase"], status["reason"]) == ("Failed", "StepFailed")
    assert steps_of(status)["before"]["reason"] == "Permanent"
    assert "step before: there is no such order" in status["message"]
    assert states(status) == {"before": "Failed"}
    assert shared_space.pods("stops", "after") == []


def test_a_result_that_breaks_a_rule_is_not_believed(ended: dict[str, Body]) -> None:
    status = ended["verifies"]
    assert (status["phase"], status["reason"]) == ("Failed", "VerificationFailed")
    assert "the provider gave no receipt" in status["message"]


def test_an_output_that_cannot_be_made_fails_the_run(ended: dict[str, Body]) -> None:
    status = ended["no-output"]
    assert (status["phase"], status["reason"]) == ("Failed", "OutputInvalid")
    assert "output.receipt: " in status["message"]


def test_every_end_is_a_condition_that_can_be_waited_for(ended: dict[str, Body]) -> None:
    for status in ended.values():
        conditions = {it["type"]: it["status"] for it in status["conditions"]}
        assert conditions["Finished"] == "True"
        assert conditions["Succeeded"] == str(status["phase"] == "Succeeded")
