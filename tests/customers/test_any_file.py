"""Whatever bytes a customer file holds: rows, or a refusal that names a line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexpura.customers import csv_rows
from nexpura.customers.csv_rows import Refused
from tests.customers.asking import HEADER

NOW = datetime(2026, 11, 1, tzinfo=UTC)
pieces = st.sampled_from(
    [b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"\0", b"\xff", "ë".encode(), b"yes", b"2026-03-14", b"a@b"]
)
bodies = st.lists(pieces | st.binary(max_size=5), max_size=40).map(b"".join)
headers = st.sampled_from([b"", b"email\n", b"\xef\xbb\xbfemail,first_name\n", f"{HEADER}\r\n".encode()])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "customers.csv"


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=headers, body=bodies)
def test_any_file_is_read_or_refused_with_a_line(file, header, body):
    file.write_bytes(header + body)

    try:
        rows = list(csv_rows.read(file, zone=UTC, now=NOW))
        places = [row.line for row in rows]
    except Refused as refused:
        assert refused.problems
        places = [problem.line for problem in refused.problems]

    lines = (header + body).count(b"\n") + 1
    assert all(1 <= line <= lines for line in places)
    assert places == sorted(places)


def test_a_row_is_read_when_it_is_asked_for_and_not_before(file):
    file.write_text(f"{HEADER}\nJ-1,Ann,,,,,,,,\nJ-2,Ben,,,,perhaps,,,,\n", encoding="utf-8")

    rows = csv_rows.read(file, zone=UTC, now=NOW)

    assert next(rows).first_name == "Ann"
    with pytest.raises(Refused, match="line 3"):
        next(rows)
