"""The table of outcomes names tests that exist, and every case of the test that takes one by one."""

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TESTS = CHECKOUT / "tests"
PAGE = (CHECKOUT / "docs" / "outcomes.md").read_text()


def named() -> set[str]:
    """What the last column names: cases, and tests with their file."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    return {it for row in rows for it in re.findall("`([^`]+)`", row.rsplit("|", 2)[1])}


def cases() -> set[str]:
    tree = ast.parse((TESTS / "e2e" / "test_outcomes.py").read_text())
    [table] = [it.value for it in tree.body if isinstance(it, ast.Assign) and ast.unparse(it.targets[0]) == "CASES"]
    assert isinstance(table, ast.Dict)
    return {str(ast.literal_eval(key)) for key in table.keys if key}


def test_every_row_is_shown_by_something() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert [row for row in rows if "`" not in row.rsplit("|", 2)[1]] == []


def test_every_case_that_is_taken_has_its_row_and_no_other_is_named() -> None:
    assert {it for it in named() if "::" not in it} == cases()


def test_every_test_that_is_named_is_there() -> None:
    for file, _, test in (it.partition("::") for it in named() if "::" in it):
        [path] = TESTS.rglob(file)
        functions = {it.name for it in ast.parse(path.read_text()).body if isinstance(it, ast.FunctionDef)}
        assert test in functions, f"{file}::{test}"
