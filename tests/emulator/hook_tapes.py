"""Deliveries taped at somebody's webhook, made to happen again: the world is set up so that the same comes out."""

from collections.abc import Iterator
from typing import Any

from mailchimp_emulator.serve import Running

from .calling import LIST, NOON, Caller, world
from .receiving import Letter, Receiver, quiet

OLD = "before@inbox.example"
NEVER_CHOSEN = "never chosen"


def unfolded(form: dict[str, str]) -> dict[str, Any]:
    """The form as the tapes show it: `data[merges][FNAME]` is FNAME in merges in data."""
    body: dict[str, Any] = {}
    for name, value in form.items():
        *path, last = name.replace("]", "").split("[")
        place = body
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return _with_lists(body)


def _with_lists(value: Any) -> Any:
    """What has the keys 0, 1, 2 is a list."""
    if not isinstance(value, dict):
        return value
    if list(value) == [str(number) for number in range(len(value))]:
        return [_with_lists(item) for item in value.values()]
    return {key: _with_lists(item) for key, item in value.items()}


def delivered(emulator: Running, receiver: Receiver, taped: dict[str, Any]) -> Letter:
    """What a webhook hears in a world where this body of a delivery was to come out."""
    data = taped["data"]
    merges = {tag: value for tag, value in data.get("merges", {}).items() if tag not in _NOT_FIELDS}
    interests = list(_interests(data.get("merges", {})))
    person = {"email_address": data.get("email", "ann@inbox.example"), "ip_opt": data.get("ip_opt", "")}
    person["interests"] = [item["id"] for item in interests if item["id"] != NEVER_CHOSEN]
    beginning, happens = _STORIES[taped["type"]](person, merges, data)
    fields = [{"tag": tag, "type": "address" if isinstance(value, dict) else "text"} for tag, value in merges.items()]
    audience = {"id": data.get("list_id", LIST), "merge_fields": fields, "interests": interests}
    shop = world(emulator, *beginning, **audience, webhooks=receiver.seeded())
    emulator.control("clock", {"now": taped.get("fired_at", NOON)})
    happens(shop, data.get("list_id", LIST))
    quiet(emulator)
    [letter] = [letter for letter in receiver.posts if letter.form["type"] == taped["type"]]
    return letter


def _interests(merges: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The interests on the tape, and one that nobody has."""
    if "INTERESTS" not in merges:
        return
    groups = merges.get("GROUPINGS", [{"name": "Interests", "groups": merges["INTERESTS"]}])
    for group in groups:
        for name in filter(None, group["groups"].split(", ")):
            yield {"id": name, "name": name, "group": group["name"]}
        yield {"id": NEVER_CHOSEN, "name": NEVER_CHOSEN, "group": group["name"]}


def _joins(person, merges, _data):
    sent = {**person, "status": "subscribed", "merge_fields": merges}
    sent["interests"] = dict.fromkeys(person["interests"], True)
    return [], lambda shop, list_id: shop.ask("POST", f"/lists/{list_id}/members", sent)


def _edits(person, merges, _data):
    before = {**person, "merge_fields": merges | {"FNAME": "somebody else"}}
    path = f"/members/{person['email_address']}"
    return [before], lambda shop, list_id: shop.ask("PATCH", f"/lists/{list_id}{path}", {"merge_fields": merges})


def _leaves(person, merges, data):
    event = {
        "email": person["email_address"],
        "event": "complaint" if data["reason"] == "abuse" else "unsubscribe",
        "campaign_id": data.get("campaign_id", ""),
    }
    return [{**person, "merge_fields": merges}], lambda shop, list_id: _happens(shop, list_id, event)


def _bounces(person, _merges, data):
    event = {"email": person["email_address"], "event": "hard_bounce", "campaign_id": data.get("campaign_id", "")}
    return [person], lambda shop, list_id: _happens(shop, list_id, event)


def _moves(_person, _merges, data):
    event = {"email": data.get("old_email", OLD), "event": "address", "new_email": data["new_email"]}
    return [{"email_address": event["email"]}], lambda shop, list_id: _happens(shop, list_id, event)


def _happens(shop: Caller, list_id: str, event: dict[str, Any]) -> None:
    shop.emulator.control("member_event", {"list_id": list_id, **event})


_NOT_FIELDS = ("EMAIL", "INTERESTS", "GROUPINGS")
_STORIES = {
    "subscribe": _joins,
    "profile": _edits,
    "unsubscribe": _leaves,
    "cleaned": _bounces,
    "upemail": _moves,
}
