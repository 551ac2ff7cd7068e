"""`make crash-matrix`: every point, moment and effect; writes docs/crash-matrix.md, and fails if anything is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

from tests.cluster.places import CHECKOUT
from tests.crashes import disruptions, node
from tests.crashes.cases import Case, Found, case_of, crashed, tried
from tests.crashes.effects import counted
from tests.crashes.lives import LIVES
from tests.crashes.random_kills import killed_at_random
from tests.crashes.report import page, summary
from tests.crashes.scene import Stage
from tests.installed import absent
from tests.integration.operator_process import kubeconfig

PAGE = CHECKOUT / "docs" / "crash-matrix.md"
AT_ONCE = int(os.environ.get("CRASHES_AT_ONCE", "3"))
KILLS = int(os.environ.get("RANDOM_KILLS", "100"))

Cases = list[tuple[Case, Callable[[], Found]]]


def main() -> None:
    """Runs all cases and writes the page."""
    with absent(), counted() as effects:
        stage = Stage.of(kubeconfig(lasting="4h"), effects)
        found = [*in_parallel(matrix(stage)), *in_parallel(disruptions.cases(stage))]
        random = killed_at_random(stage, KILLS)
        found += [tried(case, made) for case, made in node.cases(stage)]  # holds up whoever is beside it
    PAGE.write_text(page(found, list(random.lines)))
    print(summary(found), *random.lines, *random.wrong, sep="\n")
    sys.exit(bool(random.wrong) or any(it.wrong for it in found))


def matrix(stage: Stage) -> Cases:
    """Every point of every life, at every moment, for every effect."""
    return [
        (case_of(life, effect, fault), partial(crashed, stage, life, effect, fault))
        for life in LIVES
        for fault in life.faults()
        for effect in life.effects
    ]


def in_parallel(cases: Cases) -> list[Found]:
    """What comes of cases that have nothing to do with each other, in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
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
