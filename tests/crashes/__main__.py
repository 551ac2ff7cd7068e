"""`make crash-matrix`: every point, moment and effect; writes docs/crash-matrix.md, and fails if anything is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

from tests.cluster.places import CHECKOUT
from tests.crashes import crowd, disruptions, fail_over, node
from tests.crashes.cases import Case, Found, case_of, crashed, tried
from tests.crashes.crowd import Disturbed
from tests.crashes.effects import counted
from tests.crashes.lives import LIVES
from tests.crashes.random_kills import killed_at_random
from tests.crashes.report import Machine, Matrix, page
from tests.crashes.scene import Stage
from tests.installed import absent
from tests.integration.operator_process import kubeconfig

PAGE = CHECKOUT / "docs" / "crash-matrix.md"
AT_ONCE = int(os.environ.get("CRASHES_AT_ONCE", "3"))
KILLS = int(os.environ.get("RANDOM_KILLS", "100"))
KILLS_OF_LEADERS = int(os.environ.get("RANDOM_KILLS_OF_LEADERS", "12"))
"""And so often whoever leads is told to stop."""

Cases = list[tuple[Case, Callable[[], Found]]]


def main() -> None:
    """Runs all cases and writes the page; or only those of the named lives, and tells of them."""
    with absent(), counted() as effects:
        stage = Stage.of(kubeconfig(lasting="4h"), effects)
        wrong = some(stage, sys.argv[1:]) if sys.argv[1:] else whole(stage).wrong()
    print(*wrong, sep="\n")
    sys.exit(bool(wrong))


def some(stage: Stage, lives: list[str]) -> list[Found]:
    """What is not as it must be of the cases of these lives."""
    chosen = [(case, made) for case, made in restarts(stage) if case.group in lives]
    assert chosen, f"there are no lives {lives}"
    return [it for it in in_parallel(chosen, AT_ONCE) if it.wrong]


def whole(stage: Stage) -> Matrix:
    """All that was found, written down and told."""
    machine = Machine(AT_ONCE)
    found = in_parallel(restarts(stage), AT_ONCE)
    random = crowd.tried("kills at random", partial(killed_at_random, stage, KILLS))
    fail_overs, leaders = failed_over(stage)
    found += [tried(case, made) for case, made in node.cases(stage)]  # holds up whoever is beside it
    matrix = Matrix(found, random, fail_overs, leaders)
    PAGE.write_text(page(matrix, machine))
    print(*matrix.of_restarts(), *matrix.of_fail_overs(), machine.told(), sep="\n")
    return matrix


def restarts(stage: Stage) -> Cases:
    """Every point of every life, at every moment, for every effect; and what else befalls a pod."""
    points = [
        (case_of(life, effect, fault), partial(crashed, stage, life, effect, fault))
        for life in LIVES
        for fault in life.faults()
        for effect in life.effects
    ]
    return [*points, *disruptions.cases(stage)]


def failed_over(stage: Stage) -> tuple[list[Found], list[Disturbed]]:
    """What comes of leaders that are killed or stopped; it is mostly waiting, so there is twice as much at once."""
    crowds = {
        "kills of whoever leads": partial(fail_over.killed, stage, KILLS_OF_LEADERS),
        "stops of whoever leads": partial(fail_over.stopped, stage, KILLS_OF_LEADERS),
    }
    with ThreadPoolExecutor(len(crowds)) as pool:
        made = [pool.submit(crowd.tried, what, it) for what, it in crowds.items()]
        found = in_parallel(fail_over.cases(stage), 2 * AT_ONCE)
        return found, [it.result() for it in made]


def in_parallel(cases: Cases, at_once: int) -> list[Found]:
    """What comes of cases that have nothing to do with each other, in their order."""
    with ThreadPoolExecutor(at_once) as pool:
        made = [pool.submit(tried, case, it) for case, it in cases]
        for number, it in enumerate(as_completed(made), start=1):
            say(number, len(made), it.result())
    return [it.result() for it in made]


def say(number: int, all_: int, found: Found) -> None:
    """A line about a case."""
    case = found.case
    what = f"{number}/{all_} {case.group}: {case.point} {case.moment} {case.effect}"
    print(f"{what}: {found.times} {found.progress} {found.wrong or ''}", flush=True)


if __name__ == "__main__":
    main()
