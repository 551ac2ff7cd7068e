"""`make crash-matrix`: every point, moment and effect; writes docs/crash-matrix.md, and fails if anything is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

from tests.cluster.console import ClusterError
from tests.cluster.places import CHECKOUT
from tests.crashes.cases import Case, Found, case_of, crashed
from tests.crashes.effects import counted
from tests.crashes.lives import LIVES
from tests.crashes.report import page, summary
from tests.crashes.scene import Stage
from tests.integration.operator_process import kubeconfig

PAGE = CHECKOUT / "docs" / "crash-matrix.md"
AT_ONCE = 3


def main() -> None:
    """Runs all cases and writes the page."""
    with counted() as effects, ThreadPoolExecutor(AT_ONCE) as pool:
        stage = Stage.of(kubeconfig("4h"), effects)
        cases = [
            pool.submit(tried, case_of(life, effect, fault), partial(crashed, stage, life, effect, fault))
            for life in LIVES
            for fault in life.faults()
            for effect in life.effects
        ]
        for number, it in enumerate(as_completed(cases), start=1):
            say(number, len(cases), it.result())
    found = [it.result() for it in cases]
    PAGE.write_text(page(found, []))
    print(summary(found))
    sys.exit(any(it.wrong for it in found))


def tried(case: Case, made: Callable[[], Found]) -> Found:
    """What comes of a case; that it came to no end is a finding as well."""
    try:
        return made()
    except (AssertionError, ClusterError) as error:
        return Found(case, (), "stuck", 0, None, (str(error),))


def say(number: int, all_: int, found: Found) -> None:
    """A line about a case."""
    case = found.case
    what = f"{number}/{all_} {case.group}: {case.point} {case.moment} {case.effect}"
    print(f"{what}: {found.times} {found.progress} {found.wrong or ''}", flush=True)


if __name__ == "__main__":
    main()
