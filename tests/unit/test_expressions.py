"""Expressions: bounded before they are compiled, weighed before they are evaluated, and clear about what is wrong."""

import json
from typing import Any

import pytest
from agentruns.core import expressions
from agentruns.core.expressions import CHEAP_VALUES, FUNCTIONS, Data, compiled, evaluated, value
from agentruns.core.lexing import ExpressionError, bound_names, nesting, steps_read
from agentruns.core.questions import Evaluation, Unanswered

from tests.unit.builders import seen

THREE_LOOPS = "[1].map(a, [1].map(b, [1].map(c, c)))"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("run.input.n", 7),
        ("run.input.price", 12.5),
        ("run.input.lost", True),
        ("run.input.nothing", None),
        ("run.input.items", [1, 2, 3]),
        ("run.input.items.map(it, it * 2)", [2, 4, 6]),
        ("{'a': run.input.n}", {"a": 7}),
        ("'R-' + string(run.input.n)", "R-7"),
        ("run.input.items.exists(it, it > 2) ? 'many' : 'few'", "many"),
        ("1 // what follows is a comment: '", 1),
    ],
)
def test_a_value_keeps_its_type(source: str, found: Any) -> None:
    data = {"n": 7, "price": 12.5, "lost": True, "nothing": None, "items": [1, 2, 3]}
    assert evaluated(source, {"run": {"input": data}}) == found
    assert type(evaluated(source, {"run": {"input": data}})) is type(found)
    if not compiled(source).nesting:
        assert value(source, {"run": Data({"input": data})}, seen()) == found


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "1:1"),
        ("1 +", "1:4: Syntax error: it ends too early$"),
        ("a and true", "1:3: Syntax error: mismatched input 'and'; write && for and"),
        ("{ run.input.x }", "; write `\\$\\{` and `\\}`, each with one brace"),
        ("a || || b", "1:6"),
        ("'open", "token recognition"),
        ("a.?b", r"1:2: unsupported syntax '\.\?'"),
        ("x" * 2049, "longer than 2048 bytes; compute it in a step"),
        ("'" + "ü" * 1024 + "'", "longer than 2048 bytes"),
        (THREE_LOOPS, "nests comprehensions 3 deep; at most 2"),
        ("[" * 1000 + "]" * 1000, "1:"),
        ("siz(a) == 1", r"unknown function 'siz'; did you mean size\?"),
        ("a.lowerAscii()", "unknown function 'lowerAscii'; there are: bytes, contains, double"),
    ],
)
def test_what_does_not_compile_says_where_or_why(source: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        compiled(source)


@pytest.mark.parametrize(
    "hidden",
    [
        f"// '''\n{THREE_LOOPS}\n// '''",
        f'// """\n{THREE_LOOPS} // """',
        rf"r'\' + string({THREE_LOOPS}) + ''",
        rf'r"\" + string({THREE_LOOPS}) + ""',
        rf"br'\'.size() + {THREE_LOOPS}.size() + b''.size()",
        "[1].// a comment\nmap(a, [1].\nmap // another\n(b, [1].map(c, c)))",
        "[1].exists_one(a, [1].existsOne(b, [1].all(c, true)))",
        "[1] . filter ( a, [1].exists(b, [1].map(c, c) == []))",
        rf"'\'' + string({THREE_LOOPS}) + '\''",
        rf"'''\'''' + string({THREE_LOOPS}) + ''",
    ],
)
def test_no_way_of_writing_hides_a_comprehension(hidden: str) -> None:
    with pytest.raises(ExpressionError, match="nests comprehensions 3 deep"):
        compiled(hidden)


@pytest.mark.parametrize(
    ("source", "levels"),
    [
        ("a.b", 0),
        ("'x.map(y, x.map(z, 1))'", 0),
        ("a.map", 0),
        ("map(a, b)", 0),
        ("a.map(x, x) + b.map(y, y)", 1),
        ("a.map(x, x).map(y, y)", 1),
        ("[a.map(x, {'k': b.filter(y, (y))})]", 2),
        (")a.map(x, x)", 1),
    ],
)
def test_comprehensions_count_where_they_stand_inside_one_another(source: str, levels: int) -> None:
    assert nesting(source) == levels


def test_names_that_comprehensions_bind_are_no_names_to_be_known() -> None:
    assert bound_names("a.map(x, b.exists(y, x == y))") == {"x", "y"}
    assert bound_names("a.map(") == frozenset()
    assert compiled("a.map(x, x + y)").names == {"a", "y"}


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("steps.a.output.n + steps.b_2.output", {"a", "b_2"}),
        ("steps . a // why\n . output", {"a"}),
        ("run.input.steps.a", set()),
        ("'steps.a' + \"steps\"", set()),
        ("// steps.a\n1", set()),
        ("[1].map(it, steps.a.output)", {"a"}),
    ],
)
def test_the_steps_an_expression_reads_are_known_before_it_runs(source: str, steps: set[str]) -> None:
    assert steps_read(source) == steps


@pytest.mark.parametrize("source", ["steps", "steps['a']", "size(steps)", "[steps].map(it, it.a)", "steps.1"])
def test_a_step_must_be_read_by_its_name(source: str) -> None:
    with pytest.raises(ExpressionError, match=r"as in steps\.lookup\.output"):
        steps_read(source)


def test_of_a_step_there_is_its_output_and_its_state() -> None:
    with pytest.raises(ExpressionError, match=r"steps\.a has no 'stat'; it has: output, state"):
        steps_read("steps.a.stat == 'Failed'")
    assert steps_read("has(steps.a.output.stat) && steps.b.state.size() > 0 && size(steps.c) == 2") == {"a", "b", "c"}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_that_is_known_is_one_of_the_library(function: str) -> None:
    moment = "timestamp('2026-01-02T03:04:05Z')"
    examples = (
        *(f"{function}({it})" for it in ("1", "'1'", "'1s'", "'2026-01-02T03:04:05Z'")),
        *(f"{it}.{function}()" for it in (moment, "optional.of(1)", "optional")),
        *(f"{it}.{function}('a')" for it in ("'a'", "optional", "optional.of(1)")),
    )
    assert any(has_a_value(it) for it in examples)


def has_a_value(source: str) -> bool:
    """Whether the library can evaluate it."""
    try:
        compiled(source).program.execute({})
    except (ExpressionError, RuntimeError, TypeError, ValueError):
        return False
    return True


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ExpressionError, match="unknown name 'runn'; known here: run, steps"):
        compiled("runn.input").check("run", "steps")


def test_what_is_known_passes() -> None:
    compiled("steps.a.output + run.goal").check("run", "steps")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a.missing", "there is no 'missing' in what it reads"),
        ("a.list[3]", "index out of bounds"),
        ("1 / 0", "division by zero"),
        ("1 + 'a'", "no operation of that name for values of these types; convert them"),
        ("true.size()", "Undefined variable or function: 'size'"),
        ("double('NaN')", "its value is not a finite number"),
        ("[1.0, double('inf')]", "its value is not a finite number"),
        ("b'bytes'", r"its value is of type bytes, which JSON does not have; use string\(\.\.\.\)"),
        ("[{'a': duration('1s')}]", "its value is of type duration,"),
        ("{1: 2}", "its value is of type map with other keys than strings,"),
        ("a.broken", "Conversion Error"),
    ],
)
def test_what_has_no_json_value_says_why(source: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        evaluated(source, {"a": {"list": [1], **({"broken": "\ud800"} if "broken" in source else {})}})


def test_an_error_without_words_is_called_by_its_kind() -> None:
    assert expressions._first_line(ValueError()) == "ValueError"


# ------------------------------------------------------------------------------------- what is not trivially cheap


@pytest.mark.parametrize("path", ["run.missing", "run.input.n.m", "run.input.items.size", "run.input.nothing.at_all"])
def test_a_path_has_a_value_only_where_the_library_finds_one(path: str) -> None:
    data = {"input": {"n": 7, "nothing": None, "items": [1]}}
    with pytest.raises(ExpressionError):
        value(path, {"run": Data(data)}, seen())
    with pytest.raises(ExpressionError):
        evaluated(path, {"run": data})


def test_a_path_into_much_data_is_walked_and_nobody_is_asked() -> None:
    data = Data({"input": {"x": [{}] * 16_000, "k": 1}})
    assert value("run.input.k", {"run": data}, seen()) == 1


CHAIN = "['a']" + ".map(x, x + x)" * 30


@pytest.mark.parametrize(
    ("source", "data"),
    [
        ("run.map(a, run.map(b, a + b))", [1]),
        ("run.filter(it, it > 1)", [1, 2]),
        (f"size({CHAIN}[0]) > run", 1),
        ("run == run", "x" * 250_000),
        ("run.a == 1", {"a": 1, "b": [{}] * CHEAP_VALUES}),
        (r"'a'.matches('(\\w{200}){9}')", None),
        (r"matches('a', 'b')", None),
    ],
)
def test_what_may_be_costly_is_asked_of_the_shell(source: str, data: Any) -> None:
    with pytest.raises(Unanswered) as asked:
        value(source, {"run": Data(data)}, seen())
    [question] = asked.value.questions
    assert isinstance(question, Evaluation)
    read = {"run": data} if "run" in source else {}
    assert (question.expression, json.loads(question.environment)) == (source, read)


def test_the_answer_of_the_shell_is_the_value() -> None:
    source, environment = "run.matches('a')", {"run": Data("a")}
    question = Evaluation(source, '{"run":"a"}')
    assert value(source, environment, seen(answers={question: True})) is True
    with pytest.raises(ExpressionError, match="takes more than 2 s"):
        value(source, environment, seen(answers={question: ExpressionError("takes more than 2 s")}))


def test_what_is_cheap_is_not_asked() -> None:
    assert value("size(run) + 1", {"run": Data(list(range(20)))}, seen()) == 21


def test_an_expression_is_compiled_once() -> None:
    assert compiled("run.goal") is compiled("run.goal")


def test_the_same_expression_always_gives_the_same_text() -> None:
    """What is interpolated is part of what an approver's decision binds to; the library shuffles keys."""
    data = {key: {"b": 1, "a": 2} for key in "hgfedcba"}
    ordered = json.dumps(data, sort_keys=True)
    assert json.dumps(evaluated("run", {"run": data})) == ordered
    assert json.dumps(value("run.input", {"run": Data({"input": data})}, seen())) == ordered
