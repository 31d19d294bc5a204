"""Whatever is sent to whichever call: an answer as described or a problem document, and never a trace in the log."""

import re
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mailchimp_emulator import hashing, merge, routes

from .calling import LIST, Caller, world

ANN = "ann@inbox.example"
CALLS = [(method, template) for template, methods in routes.ROUTES.items() for method in methods]
FIELDS = [
    {"tag": kind.upper(), "type": kind, "options": {"choices": ["S", "M"]} if kind in ("radio", "dropdown") else {}}
    for kind in merge.TYPES
]


def _words(text: str) -> list[str]:
    return text.split()


THERE = {"list_id": LIST, "member": hashing.subscriber_hash(ANN), "merge_id": "1"}
NAMES = _words("""
    email_address status status_if_new merge_fields interests language vip location tags marketing_permissions ip_opt
    timestamp_opt email_type members update_existing sync_tags name type tag required options choices display_order
    default_value public help_text url events sources operations method path body params operation_id headers contact
    campaign_defaults permission_reminder email_type_option TEXT NUMBER ADDRESS PHONE DATE DROPDOWN BIRTHDAY addr1 city
""")
QUESTIONS = _words("""
    count offset fields exclude_fields status sort_field sort_dir email_type vip_only type since_last_changed
    before_last_changed since_timestamp_opt before_timestamp_opt unsubscribed_since unique_email_id since_last_campaign
    interest_category_id interest_ids interest_match query name list_id skip_merge_validation skip_duplicate_check
""")
LIKELY = _words(f"""
    subscribed unsubscribed pending archived active inactive html text number POST GET {ANN} bob@inbox.example
    foo@bar.com 2026-01-02 2026-01-02T03:04:05Z 203.0.113.1 /lists S true last_changed DESC members.id lists total_items
    {LIST} 10 any id http://127.0.0.1:1/hook
""")

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain |= st.text(max_size=20) | st.sampled_from([*LIKELY, "", 1, 0.5, -1, 2**64])
bodies = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=9), inner, max_size=6)
    ),
    max_leaves=20,
)
words = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(LIKELY)
queries = st.dictionaries(st.sampled_from(QUESTIONS) | words, words, max_size=4)


@pytest.fixture
def shop(emulator) -> Caller:
    """An audience with Ann, and with fields of every type."""
    return world(emulator, {"email_address": ANN}, merge_fields=FIELDS, marketing_permissions=[{"id": "0123456789"}])


@pytest.mark.parametrize(("method", "template"), CALLS, ids=str)
@given(body=bodies, query=queries, there=st.booleans())
@example(body={"email_address": ANN, "status": "subscribed"}, query={}, there=True)
@example(body=[], query={"count": "9" * 30}, there=True)
@example(body=2**64, query={"fields": "..,.", "exclude_fields": "."}, there=True)
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_asked_gets_an_answer_or_a_problem(shop, method, template, body, query, there):
    path = re.sub(r"\{(\w+)\}", lambda part: THERE.get(part[1], "1") if there else "nowhere", template)

    heard = shop.ask(method, f"{path}?{urlencode(query)}", body)

    assert heard.status in (200, 204) or 400 <= heard.status < 500
