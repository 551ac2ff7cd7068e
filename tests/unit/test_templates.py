"""Strings with `${...}`: what is an expression, what is text, and that data is never taken for a template."""

import json
from typing import Any

import pytest
from agentruns.core.expressions import compiled, evaluated
from agentruns.core.lexing import ExpressionError
from agentruns.core.problems import Problem
from agentruns.core.templates import Part, expanded, expressions_in, parts
from hypothesis import given
from hypothesis import strategies as st


def filled(template: Any, **data: Any) -> Any:
    """The template with its expressions evaluated over `run`."""
    return expanded(template, "args", lambda source: evaluated(source, {"run": data}))


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$", "$"),
        ("${run.n}", 7),
        ("${ run.n }", 7),
        ("${run.list}", [1, {"a": None}]),
        ("${run.none}", None),
        (" ${run.n}", " 7"),
        ("${run.n}${run.n}", "77"),
        ("n=${run.n}, x=${run.x}, list=${run.list}, none=${run.none}, yes=${run.yes}, word=${run.word}",
         'n=7, x=12.5, list=[1,{"a":null}], none=null, yes=true, word=ä"'),
        ("$${run.n}", "${run.n}"),
        ("$$${run.n}", "$${run.n}"),
        ("a $${b} ${run.n} $${c}", "a ${b} 7 ${c}"),
        ("${run.n}$${run.n}", "7${run.n}"),
        ("$(SECRET) $SECRET {run.n}", "$(SECRET) $SECRET {run.n}"),
        ("${ {'a': {'b': run.n}} }", {"a": {"b": 7}}),
        ("${ '}' + run.word }", '}ä"'),
        ("""${ "}'" + r'}"' }!""", "}'}\"!"),
        ("${ '''}''' }", "}"),
        ("${ run.n // }\n}", 7),
        ({"a": ["${run.n}", 1, None, {"b": "${run.x}"}]}, {"a": [7, 1, None, {"b": 12.5}]}),
        ({"${run.n}": 1}, {"${run.n}": 1}),
        (3, 3),
    ],
)  # fmt: skip
def test_a_template_and_what_becomes_of_it(template: Any, found: Any) -> None:
    data = {"n": 7, "x": 12.5, "list": [1, {"a": None}], "none": None, "yes": True, "word": 'ä"'}
    assert filled(template, **data) == found


def test_a_value_is_never_evaluated_itself() -> None:
    assert filled("${run.text}", text="${run.secret}", secret="s") == "${run.secret}"
    assert filled("say ${run.text}", text="${run.secret} $${", secret="s") == "say ${run.secret} $${"


@given(st.lists(st.sampled_from(["$", "{", "}", "a", "'", '"', "\\", "/", "\n"]), max_size=30).map("".join))
def test_any_text_survives_when_its_dollars_are_escaped(text: str) -> None:
    assert expanded(text.replace("${", "$${"), "args", lambda _: "evaluated") == text


@pytest.mark.parametrize("template", ["${", "a ${run.n", "${ '}' ", "${ {'a': 1} ", "${ 'open }", '${ """ }'])
def test_an_expression_that_is_not_closed_says_how_to_write_the_text(template: str) -> None:
    with pytest.raises(ExpressionError, match=r"`\$\{` is not closed; write `\$\$\{`"):
        parts(template)


def test_an_empty_expression_is_one_and_does_not_compile() -> None:
    assert parts("${}") == (Part("", True),)
    with pytest.raises(Problem, match="args: 1:1"):
        list(expressions_in("${}", "args"))


@pytest.mark.parametrize(
    "hostile",
    ["${" + '\\"' * 300_000, "$${" * 300_000, "${1}" * 30_000, "${ '''" * 30_000, "${" + '"' * 400_001, "$" * 900_000],
    ids=["open quotes", "literals", "expressions", "open text", "quotes", "dollars"],
)
def test_a_big_hostile_text_is_taken_apart_in_time_linear_in_its_size(hostile: str) -> None:
    """Anything quadratic would take minutes here."""
    try:
        assert parts.__wrapped__(hostile)
    except ExpressionError as error:
        assert "not closed" in str(error)


def test_expressions_come_with_the_path_of_their_field() -> None:
    value = {"a": "${run.n}", "b": [1, {"c": "x ${run.x} ${steps.s.output}"}], "d": None}
    assert list(expressions_in(value, "args")) == [
        ("args.a", compiled("run.n")),
        ("args.b[1].c", compiled("run.x")),
        ("args.b[1].c", compiled("steps.s.output")),
    ]


@pytest.mark.parametrize("broken", [{"a": ["", "${1 +}"]}, {"a": ["", "x ${"]}])
def test_what_does_not_compile_names_its_field(broken: Any) -> None:
    with pytest.raises(Problem, match=r"^args\.a\[1\]: "):
        list(expressions_in(broken, "args"))


def test_what_has_no_value_names_its_field() -> None:
    with pytest.raises(Problem, match=r"^args\.a\[0\]: there is no 'm' in what it reads"):
        filled({"a": ["x ${run.m}"]})


def test_a_list_of_a_thousand_numbers_passes_as_it_is() -> None:
    numbers = [n / 4 for n in range(1000)]
    assert filled("${run.numbers}", numbers=numbers) == numbers
    assert json.loads(filled("[${run.numbers}]", numbers=numbers)) == [numbers]
