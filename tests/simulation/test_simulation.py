"""Two thousand seeds, none of which breaks a promise; `python -m tests.simulation --seed N --trace` shows one."""

from collections import Counter

import pytest

from tests.simulation.courses import courses
from tests.simulation.simulation import Course, simulated
from tests.simulation.world.habits import LIKELIHOOD

SEEDS = range(2000)
OFTEN = 20


@pytest.fixture(scope="module")
def all_courses() -> list[Course]:
    """What became of every seed."""
    with courses(SEEDS) as them:
        return list(them)


def test_no_promise_is_broken(all_courses: list[Course]) -> None:
    assert [(it.seed, it.violations) for it in all_courses if it.violations] == []


def test_every_habit_of_the_world_is_met(all_courses: list[Course]) -> None:
    met = sum((it.met for it in all_courses), Counter[str]())
    assert {name: met[name] for name in LIKELIHOOD if met[name] < OFTEN} == {}


def test_runs_come_to_every_end_and_most_succeed(all_courses: list[Course]) -> None:
    """A world in which everything fails, or everybody is asked about everything, would prove nothing."""
    ended = sum((it.phases for it in all_courses), Counter[str]())
    assert set(ended) == {"Succeeded", "Failed", "Cancelled"}
    assert ended["Succeeded"] > ended.total() / 2


def test_a_seed_takes_the_same_course_every_time() -> None:
    assert [simulated(seed, traced=True) for seed in range(8)] == [simulated(seed, traced=True) for seed in range(8)]
