"""A pasted key leads to Mailchimp's host or is refused in words that help; nothing is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexpura.mailchimp.key import DEFAULT_TEMPLATE, ApiKey, KeyMalformed, base_url

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("text", [f"{SECRET}-us14", f"  {SECRET}-us14\r\n", f"\u00a0{SECRET}-us14\u200b"])
def test_a_key_is_read_whatever_white_space_came_along(text):
    key = ApiKey.parse(text)

    assert key == ApiKey(f"{SECRET}-us14", "us14", "cdef")


@pytest.mark.parametrize("secret", ["a" * 8, "Z" * 100])
@pytest.mark.parametrize("data_centre", ["us1", "us14", "eu100", "apac2"])
def test_only_the_suffix_is_judged_strictly(secret, data_centre):
    assert ApiKey.parse(f"{secret}-{data_centre}").data_centre == data_centre


@pytest.mark.parametrize(
    ("text", "reason_code"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        (SECRET, "suffix_missing"),
        (f"{SECRET}-", "suffix_missing"),
        ("-us14", "suffix_missing"),
        (f"{SECRET}-us14.api.mailchimp.com", "suffix_host"),
        (f"{SECRET}-evil.example", "suffix_host"),
        (f"{SECRET}-us14/3.0", "suffix_path"),
        (f"{SECRET}-us14\\x", "suffix_path"),
        (f"{SECRET}-us14?x", "suffix_path"),
        (f"{SECRET}-us14#x", "suffix_path"),
        (f"{SECRET}-us14:8080", "suffix_port"),
        (f"{SECRET}-us14@evil", "suffix_at"),
        (f"{SECRET}-us 14", "suffix_space"),
        (f"{SECRET}-us14\nx", "suffix_space"),
        (f"{SECRET}-US14", "suffix_unknown"),
        (f"{SECRET}-us", "suffix_unknown"),
        (f"{SECRET}-14", "suffix_unknown"),
        (f"{SECRET}-us1234", "suffix_unknown"),
        (f"{SECRET}-europe1", "suffix_unknown"),
        (f"{SECRET}-us１４", "suffix_unknown"),
        ("abc-us14", "secret_short"),
        (f"{SECRET[:20]} {SECRET[20:]}-us14", "secret_characters"),
        (f"{SECRET}-x-us14", "secret_characters"),
        ("é" * 10 + "-us14", "secret_characters"),
        ("a" * 101 + "-us14", "too_long"),
        ("a" * 10_000, "too_long"),
        ("a" * 10_000 + "-us14", "too_long"),
    ],
)
def test_a_bad_key_is_refused_with_its_reason(text, reason_code):
    with pytest.raises(KeyMalformed) as refused:
        ApiKey.parse(text)

    assert refused.value.reason_code == reason_code
    assert len(refused.value.message) < 300
    assert SECRET not in refused.value.message


def test_each_way_to_spoil_a_suffix_gets_its_own_words():
    spoiled = ["", ".com", "/3.0", ":80", "@x", " x", "x"]

    messages = {_refusal(f"{SECRET}-us14{end}" if end else SECRET).message for end in spoiled}

    assert len(messages) == len(spoiled)


@given(st.text(max_size=40), st.sampled_from("./:@\\?# "), st.text(max_size=10))
def test_no_suffix_can_lead_to_another_host(before, sign, after):
    suffix = f"{before}{sign}{after}x".replace("-", "")

    with pytest.raises(KeyMalformed):
        ApiKey.parse(f"{SECRET}-{suffix}")


@given(st.text(max_size=250))
def test_what_is_read_is_a_data_centre_and_nothing_else_is_raised(text):
    try:
        key = ApiKey.parse(text)
    except KeyMalformed:
        return

    assert base_url(DEFAULT_TEMPLATE, key.data_centre) == f"https://{key.data_centre}.api.mailchimp.com/3.0"


def test_a_key_does_not_show_itself():
    key = ApiKey.parse(f"{SECRET}-us14")

    assert SECRET not in repr(key)
    assert SECRET not in f"{key}"


@pytest.mark.parametrize(
    ("template", "url"),
    [
        (DEFAULT_TEMPLATE, "https://us14.api.mailchimp.com/3.0"),
        ("https://api.mailchimp.com/3.0/", "https://api.mailchimp.com/3.0"),
        ("http://127.0.0.1:9000/{dc}/3.0", "http://127.0.0.1:9000/us14/3.0"),
        ("http://localhost/3.0", "http://localhost/3.0"),
        ("http://[::1]:9000/3.0", "http://[::1]:9000/3.0"),
    ],
)
def test_the_url_is_filled_with_the_data_centre(template, url):
    assert base_url(template, "us14") == url


@pytest.mark.parametrize(
    "template",
    [
        "http://{dc}.api.mailchimp.com/3.0",
        "http://127.0.0.1@evil.example/3.0",
        "http://127.0.0.1.evil.example/3.0",
        "https://somebody@api.mailchimp.com/3.0",
        "https://api.mailchimp.com/3.0?x=1",
        "ftp://127.0.0.1/3.0",
        "127.0.0.1:9000",
        "",
    ],
)
def test_a_key_is_sent_over_https_or_stays_on_this_machine(template):
    with pytest.raises(ValueError, match=r"Mailchimp URL|plain http"):
        base_url(template, "us14")


def test_a_url_is_filled_with_nothing_but_a_data_centre():
    with pytest.raises(ValueError, match="data centre"):
        base_url(DEFAULT_TEMPLATE, "evil.example/")


def _refusal(text: str) -> KeyMalformed:
    with pytest.raises(KeyMalformed) as refused:
        ApiKey.parse(text)
    return refused.value
