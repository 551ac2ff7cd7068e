"""`python -m tests.simulation`: many seeds, or one of them again, step by step."""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.simulation.courses import courses
from tests.simulation.simulation import Course, simulated


def main() -> int:
    """The exit code: 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="the one to be run again")
    parser.add_argument("--trace", action="store_true", help="print everything that happened in it")
    parser.add_argument("--count", type=int, default=2000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--harsh", action="store_true", help="six habits are at work in each for certain, and often")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.seed is not None:
        course = simulated(arguments.seed, harsh=arguments.harsh, traced=arguments.trace)
        print("\n".join(course.trace))
        return _said([course])
    seeds = range(arguments.first, arguments.first + arguments.count)
    with courses(seeds, harsh=arguments.harsh) as them:
        return _said(them)


def _said(them: Iterable[Course]) -> int:
    """Prints what came of them; the exit code."""
    begun, met, phases, broken, count, virtual, calls = time.monotonic(), Counter[str](), Counter[str](), 0, 0, 0.0, 0
    for course in them:
        count += 1
        met += course.met
        phases += course.phases
        virtual += course.seconds
        calls += course.calls
        for violation in course.violations:
            broken += 1
            print(f"seed {course.seed}: {violation}", flush=True)
    print(f"{count} seeds in {time.monotonic() - begun:.0f} s, {virtual / 3600:.0f} h of theirs, {calls} requests")
    print("ended as:", dict(phases))
    print("met:", dict(met.most_common()))
    print(f"promises broken: {broken}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
