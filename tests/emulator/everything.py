"""One of everything: bodies that the calls take, with every field, and an account that has something of each kind."""

from typing import Any

from mailchimp_emulator import hashing, merge
from mailchimp_emulator.serve import Running

from .calling import KEY, LIST, Caller

ANN = "ann@inbox.example"
PERSON = {
    "email_address": ANN,
    "status": "subscribed",
    "status_if_new": "pending",
    "email_type": "html",
    "merge_fields": {
        "TEXT": "Ann",
        "NUMBER": 1,
        "PHONE": "1",
        "DATE": "2026-01-02",
        "BIRTHDAY": "01/02",
        "ZIP": "12345",
        "URL": "http://shop.example/",
        "DROPDOWN": "S",
        "ADDRESS": {"addr1": "1 High St", "city": "Perth", "state": "WA", "zip": "6000"},
    },
    "interests": {"aaaaaaaaaa": True},
    "marketing_permissions": [{"marketing_permission_id": "bbbbbbbbbb", "enabled": True}],
    "location": {"latitude": 1.5, "longitude": -1.5},
    "language": "de",
    "vip": True,
    "ip_signup": "203.0.113.1",
    "timestamp_signup": "2026-01-02 03:04:05",
    "ip_opt": "203.0.113.1",
    "timestamp_opt": "2026-01-02T03:04:05Z",
    "tags": ["new", "old"],
}
AUDIENCE = {
    "name": "Second",
    "permission_reminder": "You signed up.",
    "email_type_option": False,
    "double_optin": True,
    "marketing_permissions": False,
    "use_archive_bar": True,
    "notify_on_subscribe": "",
    "notify_on_unsubscribe": "",
    "contact": {"company": "Opal", "address1": "1 High St", "city": "Perth", "country": "AU"},
    "campaign_defaults": {"from_name": "Opal", "from_email": ANN, "subject": "", "language": "en"},
}
FIELD = {
    "name": "Size",
    "type": "dropdown",
    "tag": "SIZE",
    "required": False,
    "public": True,
    "display_order": 2,
    "default_value": "",
    "help_text": "",
    "options": {"choices": ["S", "M"], "size": 25, "default_country": 164, "phone_format": "", "date_format": ""},
}
HOOK = {
    "url": "http://127.0.0.1:1/hook",
    "events": {"subscribe": True, "unsubscribe": True, "profile": True, "cleaned": True, "upemail": False},
    "sources": {"user": True, "admin": True, "api": False},
}
OPERATION = {
    "method": "POST",
    "path": f"/lists/{LIST}/members",
    "operation_id": "1",
    "body": "{}",
    "params": {"count": 1},
    "headers": {},
}
RIGHT: dict[str, Any] = {  # by the end of the path, bodies that a call takes
    "/members": PERSON,
    "/members/{member}": PERSON,
    "/tags": {"tags": [{"name": "new", "status": "active"}, {"name": "old", "status": "inactive"}], "is_syncing": True},
    "/lists": AUDIENCE,
    "/lists/{list_id}": {"members": [PERSON], "update_existing": True, "sync_tags": True},
    "/merge-fields": FIELD,
    "/merge-fields/{merge_id}": FIELD,
    "/webhooks": HOOK,
    "/webhooks/{webhook_id}": HOOK,
    "/batches": {"operations": [OPERATION]},
}


def everything(emulator: Running) -> Caller:
    """An account that may make audiences; in the one it has are Ann, and something of every kind."""
    audience = {
        "id": LIST,
        "members": [{"email_address": ANN, "tags": ["old"]}],
        "merge_fields": [{"tag": kind.upper(), "type": kind, "options": {"choices": ["S"]}} for kind in merge.TYPES],
        "marketing_permissions": [{"id": "bbbbbbbbbb", "text": "Email"}],
        "interests": ["aaaaaaaaaa"],
        "webhooks": [{"id": "dddddddddd", "url": "http://127.0.0.1:1/"}],
    }
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}], "may_create": True, "lists": [audience]}])
    return Caller(emulator)


def ids_in(caller: Caller, template: str) -> dict[str, str]:
    """What stands for the parts of a path so that it leads to something."""
    known = {"list_id": LIST, "member": hashing.subscriber_hash(ANN), "merge_id": "1", "webhook_id": "dddddddddd"}
    if "{batch_id}" in template:
        known["batch_id"] = caller.ask("POST", "/batches", {"operations": [{"method": "GET", "path": "/ping"}]}).body[
            "id"
        ]
    return known
