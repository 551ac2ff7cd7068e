"""Places that only a few may have at once: taken by turns of namespaces, and no wake-up is lost."""

from collections.abc import Callable

import pytest
from agentruns.core.naming import Key
from agentruns.turns import Places

A, B, C, D = (("shop", name) for name in "abcd")
LONE = ("lab", "lone")


class Few:
    """Two places, and who was woken."""

    def __init__(self) -> None:
        self.woken: list[Key] = []
        self.places = Places(2, self.woken.append)

    def take(self, *runs: Key) -> list[bool]:
        """Whether each of these runs has a place."""
        return [self.places.take(run) for run in runs]


@pytest.fixture
def full() -> Few:
    """Two places that are taken, and two who stand in line."""
    few = Few()
    assert few.take(A, B, A, C, D, C) == [True, True, True, False, False, False]
    return few


def test_who_came_first_has_the_next_place_and_nobody_who_comes_later_takes_it(full: Few) -> None:
    full.places.leave(A)
    assert full.woken == [C]
    assert full.take(A, D, C) == [False, False, True]
    full.places.leave(B)
    full.places.leave(C)
    assert full.woken == [C, D, A]


def test_namespaces_take_turns(full: Few) -> None:
    assert full.take(LONE) == [False]
    full.places.leave(A)
    full.places.leave(B)
    assert full.woken == [C, LONE]


def test_whoever_is_woken_and_needs_no_place_passes_it_on(full: Few) -> None:
    full.places.leave(A)
    full.places.leave(C)
    assert full.woken == [C, D]


@pytest.mark.parametrize(("ends", "woken"), [(Places.leave, D), (Places.rest, C)])
def test_a_pass_that_ends_before_its_turn_keeps_its_place_in_line_only_if_it_is_to_come_back(
    full: Few, ends: Callable[[Places, Key], None], woken: Key
) -> None:
    ends(full.places, C)
    full.places.leave(A)
    assert full.woken == [woken]


def test_a_pass_that_is_to_be_woken_by_something_else_gives_its_place_up_all_the_same(full: Few) -> None:
    full.places.rest(A)
    assert full.woken == [C]
    assert full.take(A) == [False]


def test_nothing_is_kept_of_those_who_have_left(full: Few) -> None:
    for run in (A, B, C, D):
        full.places.leave(run)
    assert full.woken == [C, D]
    assert full.take(LONE, A, B) == [True, True, False]
