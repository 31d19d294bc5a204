"""Addresses and phone numbers as people write them."""

from __future__ import annotations

import random

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexpura.customers import normalise

USABLE = [
    "ann@inbox.example",
    "ANN@INBOX.EXAMPLE",
    "ann.o'neil+shop_1@post.inbox.example",
    "a@b.co",
    "ann@xn--mnchen-3ya.example",
    "ann@münchen.example",
    f"{'a' * 64}@inbox.example",
]
UNUSABLE = [
    ("", "no address"),
    ("ann", "no @"),
    ("name@", "nothing after the @"),
    ("@inbox.example", "nothing before the @"),
    ("ann@@inbox.example", "more than one @"),
    ("ann@home@inbox.example", "more than one @"),
    ("ann@inbox.example.", "ends with a dot"),
    ("ann@inbox..example", "two dots in a row"),
    (".ann@inbox.example", "wrong side"),
    ("ann.@inbox.example", "wrong side"),
    ("ann@inbox", "no dot after the @"),
    ("ann smith@inbox.example", "blank inside"),
    (f"{'a' * 286}@inbox.example", "300 characters"),
    (f"{'a' * 65}@inbox.example", "longer than 64"),
    ("ann💎@inbox.example", "emoji"),
    ("ann@💎.example", "emoji"),
    ("zoë@inbox.example", "without accents"),
    ("ann@-inbox.example", "check its spelling"),
    ("ann@[127.0.0.1]", "check its spelling"),
    ("ann@inbox.example\0", "check its spelling"),
]


@pytest.mark.parametrize("address", USABLE)
def test_an_address_that_can_receive_mail_has_no_problem(address):
    assert normalise.email_problem(address) is None


@pytest.mark.parametrize(("address", "words"), UNUSABLE)
def test_an_address_that_cannot_is_told_what_is_wrong(address, words):
    assert words in (normalise.email_problem(address) or "")


@given(st.text())
def test_no_sentence_about_an_address_repeats_it(text):
    address = f"{text}@secret-place"

    assert "secret-place" not in (normalise.email_problem(address) or "")


@given(st.text(max_size=300))
def test_an_address_as_kept_stays_as_it_is_when_kept_again(text):
    kept = normalise.email_as_kept(text)

    assert normalise.email_as_kept(kept) == kept


def test_an_international_domain_is_kept_in_its_ascii_form():
    assert normalise.email_as_kept(" Ann@München.example ") == "Ann@xn--mnchen-3ya.example"


def test_an_address_keeps_the_spelling_of_its_owner_but_not_the_blanks_around():
    assert normalise.email_as_kept("\t Ann.Smith@Inbox.example\u00a0") == "Ann.Smith@Inbox.example"


PHONES = [
    ("0491 570 156", "AU", "+61491570156"),
    ("0491570156", "AU", "+61491570156"),
    ("(02) 5550 1234", "AU", "+61255501234"),
    ("02-5550-1234", "AU", "+61255501234"),
    ("+61 (0)2 5550 1234", "AU", "+61255501234"),
    ("61 491 570 156", "AU", "+61491570156"),
    ("+1 (202) 555-0123", "AU", "+12025550123"),
    ("(202) 555-0123", "US", "+12025550123"),
    ("5550 1234", "AU", None),
    ("(202) 555-0123", "AU", None),
    ("call after six", "AU", None),
    ("", "AU", None),
    ("1" * 300, "AU", None),
]


@pytest.mark.parametrize(("text", "country", "kept"), PHONES)
def test_a_phone_number_is_read_as_one_dials_it_in_the_shops_country(text, country, kept):
    assert normalise.phone_as_kept(text, country) == kept


@pytest.mark.parametrize("country", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_the_short_way_to_read_a_number_tells_what_the_library_tells_or_nothing(country):
    chance = random.Random(country)

    for text in _dialled(country, chance):
        told = normalise._plan_of(country).as_kept(text)
        assert told in ("", normalise._as_the_library_reads(text, country)), text


def test_the_short_way_is_taken_for_nearly_every_number_of_the_country():
    assert normalise._plan_of("AU").as_kept("0491 570 156") == "+61491570156"
    assert normalise._plan_of("AU").as_kept("+61 491 570 156") == "+61491570156"
    assert normalise._plan_of("CA").as_kept("506-234-5678") == "+15062345678"
    assert normalise._plan_of("ZZ").as_kept("0491 570 156") == ""


def _dialled(country: str, chance: random.Random) -> set[str]:
    """Numbers of a country as people write them, right and wrong."""
    formats = phonenumbers.PhoneNumberFormat
    examples = [phonenumbers.example_number_for_type(country, kind) for kind in range(11)]
    written = {
        phonenumbers.format_number(example, form)
        for example in examples
        if example
        for form in (formats.E164, formats.INTERNATIONAL, formats.NATIONAL)
    }
    code = phonenumbers.country_code_for_region(country)
    for text in sorted(written):
        place = chance.randrange(len(text))
        written.add(text[:place] + chance.choice("0123456789- ") + text[place:])
        written.add(text[:place] + chance.choice("0123456789") + text[place + 1 :])
    for _ in range(20):
        digits = "".join(chance.choice("0123456789") for _ in range(chance.randint(4, 12)))
        written |= {
            digits,
            f"0{digits}",
            f"+{code}{digits}",
            f"+{code}0{digits}",
            f"{code}{digits}",
            f"00{code}{digits}",
        }
    return written


def test_a_phone_number_that_is_none_is_answered_with_an_example_of_the_country():
    assert "0412 345 678" in normalise.phone_problem("AU")
    assert "+61 491 570 156" in normalise.phone_problem("ZZ")


@pytest.mark.parametrize(
    ("typed", "country", "prefix"),
    [
        ("0491 57", "AU", "+6149157"),
        ("+61 49", "AU", "+6149"),
        ("(202) 5", "US", "+12025"),
        ("1 202", "US", "+1202"),
        ("0", "AU", ""),
        ("+", "AU", ""),
    ],
)
def test_the_beginning_of_a_phone_number_finds_numbers_as_they_are_kept(typed, country, prefix):
    assert normalise.phone_prefix(typed, country) == prefix
