"""Whatever is sent to whichever call: an answer as described or a problem document, and never a trace in the log."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailchimp_emulator import routes

from .calling import LIST
from .everything import ANN, RIGHT, everything, ids_in

MOMENTS = ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00", "yesterday")
FIELDS_OF_REPLIES = ("members.id", "lists", "total_items,_links", "id", "..,.", "tags.name")
QUESTIONS = {
    **dict.fromkeys(("count", "offset"), ("0", "1", "1001", "-1", "9" * 30)),
    **dict.fromkeys(("fields", "exclude_fields"), FIELDS_OF_REPLIES),
    **dict.fromkeys(("since_last_changed", "before_last_changed", "since_timestamp_opt"), MOMENTS),
    **dict.fromkeys(("before_timestamp_opt", "unsubscribed_since", "since_date_created"), MOMENTS),
    **dict.fromkeys(("vip_only", "since_last_campaign", "include_total_contacts"), ("true", "1", "x")),
    **dict.fromkeys(("skip_merge_validation", "skip_duplicate_check", "required"), ("true", "0")),
    **dict.fromkeys(("query", "name", "email"), (ANN, "a", "")),
    "status": ("subscribed", "unsubscribed", "archived", "nobody"),
    "type": ("text", "colour"),
    "email_type": ("html", "none"),
    "sort_field": ("last_changed", "timestamp_opt", "date_created"),
    "sort_dir": ("ASC", "DESC"),
    "unique_email_id": ("0123456789",),
    "interest_category_id": ("cccccccccc",),
    "interest_ids": ("aaaaaaaaaa", "0"),
    "interest_match": ("any", "all", "none", "some"),
    "list_id": (LIST, "0"),
}
CALLS = [(method, template) for template, methods in routes.ROUTES.items() for method in methods]

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain |= st.text(max_size=20) | st.sampled_from([ANN, "bob@inbox.example", "subscribed", "", "2026-01-02", 2**64])
anything = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)
words = st.text(st.characters(codec="utf-8"), max_size=20)
queries = st.dictionaries(words, words, max_size=1) | st.lists(st.sampled_from(sorted(QUESTIONS)), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(QUESTIONS[name]) | words for name in names})
)


@st.composite
def spoiled(draw: st.DrawFn, right: Any) -> Any:
    """A body that would be taken, with here and there something else in it."""
    if draw(st.integers(0, 11)) == 0:
        return draw(anything)
    if isinstance(right, dict):
        return {name: draw(spoiled(value)) for name, value in right.items() if draw(st.integers(0, 4))}
    if isinstance(right, list):
        return [draw(spoiled(item)) for item in right]
    return right


@pytest.mark.parametrize(("method", "template"), CALLS, ids=str)
@given(drawn=st.data())
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_anything_asked_gets_an_answer_or_a_problem(emulator, method, template, drawn):
    caller = everything(emulator)
    there = ids_in(caller, template) if drawn.draw(st.integers(0, 9)) else {}
    path = re.sub(r"\{(\w+)\}", lambda part: there.get(part[1], "nobody"), template)
    right = next((body for end, body in RIGHT.items() if template.endswith(end)), {})
    body = drawn.draw(spoiled(right) | anything)

    heard = caller.ask(method, f"{path}?{urlencode(drawn.draw(queries))}", body)

    assert heard.status in (200, 204) or 400 <= heard.status < 500
