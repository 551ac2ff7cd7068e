"""Digests are equal for equal values and for nothing else."""

import hashlib
from typing import Any

import pytest
from agentruns.core.digests import MAX_DEPTH, NotCanonicalError, canonical, depth, digest, digest_of, fingerprint
from hypothesis import given
from hypothesis import strategies as st

texts = st.text("a:\0é😀", max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def nested(levels: int) -> list[Any]:
    """An array in an array, so many levels deep."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@given(st.lists(texts), st.lists(texts))
def test_two_tuples_share_a_fingerprint_only_if_they_are_the_same(one: list[str], other: list[str]) -> None:
    assert (fingerprint(*one) == fingerprint(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a", "", "b"), ("a", "b", "")),
        (("a:b",), ("a", "b")),
        (("1:a",), ("a",)),
        (("1:a1:b",), ("a", "b")),
        ((), ("",)),
        (("a\0b",), ("a", "b")),
    ],
)
def test_no_separator_makes_two_tuples_collide(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert fingerprint(*one) != fingerprint(*other)


@given(st.dictionaries(texts, values))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)
    assert digest(dict(reversed(value.items()))) == digest(value)


def test_a_digest_names_its_algorithm() -> None:
    assert digest({"b": 1, "a": [True, None]}) == digest_of(b'{"a":[true,null],"b":1}')
    assert digest_of(b"x") == f"sha256:{hashlib.sha256(b'x').hexdigest()}"


def test_a_whole_number_has_one_form() -> None:
    assert digest(1.0) == digest(1)
    assert digest("1") != digest(1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2**53 + 1, "quote it"),
        ({"a": [-(2**53) - 1]}, "quote it"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ("\ud800", "no exact JSON form"),
        ({"\udfff": 1}, "no exact JSON form"),
        (nested(MAX_DEPTH + 1), "flatten it"),
        (nested(10_000), "flatten it"),
    ],
)
def test_what_json_cannot_carry_exactly_is_refused_with_the_remedy(value: Any, said: str) -> None:
    with pytest.raises(NotCanonicalError, match=said):
        canonical(value)


def test_the_deepest_value_allowed_is_taken() -> None:
    assert canonical(nested(MAX_DEPTH)) == b"[" * MAX_DEPTH + b"]" * MAX_DEPTH


@pytest.mark.parametrize(
    ("value", "levels"),
    [(1, 0), ("[[", 0), (None, 0), ([], 1), ({}, 1), ([1], 1), ({"a": [{}]}, 3), ([1, [2, [3]]], 3), (nested(40), 40)],
)
def test_depth_counts_objects_and_arrays(value: Any, levels: int) -> None:
    assert depth(value) == levels


def test_depth_stops_counting_where_it_no_longer_matters() -> None:
    assert depth(nested(10_000)) == MAX_DEPTH + 1
