"""Arrays as PostgreSQL reads them."""

from __future__ import annotations

import pytest
from django.db import connection

from nexpura.tenants.arrays import array_of


@pytest.mark.django_db
@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["a", "b,c", "{d}", "NULL", " e "],
        ['"quoted"', "back\\slash", '\\"', "line\nbreak", "tab\t", "ünï·✓"],
    ],
)
def test_texts_arrive_as_they_are(texts):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text[]", [array_of(texts)])

        assert cursor.fetchone() == (texts,)


@pytest.mark.django_db
@pytest.mark.parametrize("numbers", [[], [0], [-1, 2**62]])
def test_numbers_arrive_as_they_are(numbers):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::bigint[]", [array_of(numbers)])

        assert cursor.fetchone() == (numbers,)
