"""The customer list: found by the beginning of what one knows, a page at a time."""

from __future__ import annotations

import pytest

from nexpura.customers import search
from tests.customers.asking import customer

pytestmark = pytest.mark.django_db


@pytest.fixture
def book(tenant, other_tenant):
    people = [
        ("Ann", "Smith", "ann@inbox.example", "+61491570156"),
        ("Zoë", "Šmíd", "ZOE@post.example", "+61255501234"),
        ("Łukasz", "Nowak", "", "5550 1882"),
        ("Mary Ann", "van der Berg", "mvdb@mail.example", "+12025550123"),
        ("", "", "repairs@post.example", ""),
    ]
    for first, last, email, phone in people:
        customer(tenant, first_name=first, last_name=last, email=email, phone=phone)
    customer(other_tenant, first_name="Ann", last_name="Smith", email="ann@inbox.example")
    return tenant


def found(tenant, query):
    return [person.first_name or person.email for person in search.page(tenant, query=query).customers]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("smi", ["Zoë", "Ann"]),
        ("šMÍ", ["Zoë", "Ann"]),
        ("zoe", ["Zoë"]),
        ("ZOË", ["Zoë"]),
        ("luk", ["Łukasz"]),
        ("ann", ["Ann"]),
        ("ann sm", ["Ann"]),
        ("smith  ann", ["Ann"]),
        ("mary ann van", ["Mary Ann"]),
        ("van der b", ["Mary Ann"]),
        ("ANN@in", ["Ann"]),
        ("zoe@post.example", ["Zoë"]),
        ("repairs", ["repairs@post.example"]),
        ("0491 570", ["Ann"]),
        ("(02) 5550 1234", ["Zoë"]),
        ("+1 202", ["Mary Ann"]),
        ("5550 18", ["Łukasz"]),
        ("nobody", []),
        ("%", []),
        ("_nn", []),
        ("\0", ["repairs@post.example", "Łukasz", "Zoë", "Ann", "Mary Ann"]),
        ("\U0010ffff", []),
    ],
)
def test_a_customer_is_found_by_the_beginning_of_what_one_knows(book, query, names):
    assert sorted(found(book, query)) == sorted(names)


def test_the_list_goes_by_last_name_then_first_name_without_regard_to_accents(book):
    names = found(book, "")

    assert names == ["repairs@post.example", "Łukasz", "Zoë", "Ann", "Mary Ann"]


def test_pages_follow_each_other_without_gap_or_repetition(tenant):
    made = [customer(tenant, first_name=first, last_name=last) for last in "cab" for first in ("x", "Ä", "x", "b")]

    seen, cursor = [], ""
    for _ in range(len(made)):
        page = search.page(tenant, after=cursor, size=5)
        seen.extend(page.customers)
        cursor = page.next
        if not cursor:
            break

    assert len(seen) == len(made)
    assert set(seen) == set(made)
    assert [(one.last_key, one.first_key) for one in seen] == sorted((one.last_key, one.first_key) for one in made)


def test_a_last_page_that_is_exactly_full_has_no_next(tenant):
    for _ in range(4):
        customer(tenant, first_name="Ann")

    assert search.page(tenant, size=4).next == ""
    assert search.page(tenant, size=3).next != ""


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, "0", "١٢", "1; DROP TABLE"])
def test_a_cursor_that_is_none_gives_the_first_page(book, cursor):
    assert search.page(book, after=cursor).customers == search.page(book).customers


def test_a_cursor_of_another_shop_gives_the_first_page(book, other_tenant):
    stranger = other_tenant.customers.get()

    assert search.page(book, after=str(stranger.pk)).customers == search.page(book).customers


def test_a_search_asks_for_ranges_that_an_index_serves(book, django_assert_num_queries):
    with django_assert_num_queries(2) as asked:
        search.page(book, query="ann sm")

    for question in asked.captured_queries:
        assert "LIKE" not in question["sql"].upper()
        assert "LOWER(" not in question["sql"].upper()


def test_a_search_reads_no_further_than_the_page(book, django_assert_num_queries):
    with django_assert_num_queries(2) as asked:
        search.page(book, query="ann sm", size=7)

    assert asked.captured_queries[0]["sql"].count("LIMIT 8") == 5


def test_who_is_found_by_two_of_their_words_is_shown_once_and_pages_follow_each_other(tenant):
    people = [customer(tenant, first_name="Anna", last_name=f"Ann{n}", email=f"ann{n}@inbox.example") for n in range(7)]

    first = search.page(tenant, query="ann", size=4)
    second = search.page(tenant, query="ann", after=first.next, size=4)

    assert [*first.customers, *second.customers] == people
    assert second.next == ""
