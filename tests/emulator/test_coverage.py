"""COVERAGE.md is true: it names every call, and tests that exist. So are the quirks written down for people."""

import ast
import re
from pathlib import Path

import pytest

from mailchimp_emulator import routes

from . import coverage
from .coverage import ENDPOINTS, RULES
from .openapi import nameless

HERE = Path(__file__).parent
CLAIMS = [*coverage.claims(ENDPOINTS), *coverage.claims(RULES)]


def test_every_call_that_is_answered_is_named_and_no_other():
    served = {nameless(f"{method} {template}") for template, methods in routes.ROUTES.items() for method in methods}
    ticked = {nameless(call) for claim in coverage.claims(ENDPOINTS) if claim.ticked for call in claim.calls}
    missing = {nameless(call) for claim in coverage.claims(ENDPOINTS) if not claim.ticked for call in claim.calls}

    assert served <= ticked
    assert not ticked - served - {"GET /oauth2/metadata"}
    assert not missing & served


def test_the_tables_are_there():
    assert len(coverage.claims(ENDPOINTS)) > 10
    assert len(coverage.claims(RULES)) > 20


@pytest.mark.parametrize("claim", coverage.claims(RULES), ids=lambda claim: claim.what)
def test_a_rule_names_the_functions_that_show_it(claim):
    assert all(functions for _, functions in claim.tests)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.what)
def test_what_is_ticked_is_shown_by_tests_that_exist(claim):
    assert bool(claim.tests) == claim.ticked
    assert bool(claim.source)
    for file, functions in claim.tests:
        assert set(functions) <= _functions_of(HERE / f"{file}.py"), file


def test_the_quirks_name_tests_that_exist():
    text = (HERE.parents[1] / "docs" / "mailchimp-quirks.md").read_text()
    named = re.findall(r"(test_\w+): (test_\w+(?:, test_\w+)*) \|$", text, re.MULTILINE)

    assert len(named) > 30
    for file, functions in named:
        for function in functions.split(", "):
            assert any(function in _functions_of(HERE / f"{one}.py") for one in {file, *_FILES}), function


_FILES = [path.stem for path in HERE.glob("test_*.py")]


def _functions_of(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
