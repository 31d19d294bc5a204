"""The merge fields of an audience themselves: listed, made, changed, deleted. What goes into them: merge.py."""

import re
from collections.abc import Mapping
from typing import Any

from mailchimp_emulator import asked, bodies, merge, problems, schema
from mailchimp_emulator.handlers import Call, Reply
from mailchimp_emulator.schema import Check
from mailchimp_emulator.state import Audience, MergeField

LONGEST_TAG = 10
RESERVED_TAGS = {
    *("ARCHIVE", "DATE", "EMAIL", "EMAIL_TYPE", "FORWARD"),
    *("INTERESTS", "REWARDS", "TO", "UNSUB", "USER_URL"),
}
_NOT_IN_TAGS = re.compile("[^A-Z0-9_]")
_DEFAULT_SIZE = 25
_UNITED_STATES = 164
_DATE_FORMATS = {"date": ("MM/DD/YYYY", "DD/MM/YYYY"), "birthday": ("MM/DD", "DD/MM")}
_WITH_CHOICES = ("radio", "dropdown")
_SCHEMA = "Lists/MergeFields/Instance"
_PLAIN = ("name", "required", "default_value", "public", "display_order", "help_text")


def get_merge_fields(call: Call) -> Reply:
    """Sorted by tag, as recorded; 10 unless `count` says otherwise."""
    audience = call.audience()
    items = sorted(audience.merge_fields.values(), key=lambda item: item.tag)
    items = [item for item in items if _wanted(call.query, item)]
    body = {
        "merge_fields": [bodies.merge_field(audience, item) for item in asked.page(call.query).of(items)],
        "list_id": audience.id,
        "total_items": len(items),
        "_links": bodies.merge_field_collection_links(audience),
    }
    return Reply(asked.only_fields(body, call.query), "Lists/MergeFields/Collection", total_items=len(items))


def get_merge_field(call: Call) -> Reply:
    return _reply(call, *_field(call))


def post_merge_field(call: Call) -> Reply:
    """Make a field. The reply alone tells how many the audience may have."""
    audience = call.audience()
    body = schema.checked(call.body, _CHECKS, needs=("name", "type"))
    if len(audience.merge_fields) >= audience.merge_field_limit:
        raise problems.too_many_merge_fields(audience.merge_field_limit)
    field = MergeField(
        merge_id=audience.next_merge_id,
        tag=_free_tag(audience, body.get("tag", "")),
        name=body["name"],
        type=body["type"],
        display_order=max((item.display_order for item in audience.merge_fields.values()), default=1) + 1,
        options=_options(body["type"], body.get("options", {})),
    )
    _write_plain(field, body)
    audience.add_field(field)
    counts = {"merge_field_limit": audience.merge_field_limit, "total_items": len(audience.merge_fields)}
    return Reply(bodies.merge_field(audience, field) | counts, _SCHEMA)


def patch_merge_field(call: Call) -> Reply:
    """Change a field: never its type, nor its choices. With another tag it keeps what members have in it."""
    audience, field = _field(call)
    body = schema.checked(call.body, _CHECKS)
    if body.get("type", field.type) != field.type:
        raise problems.not_validated(("type", "The type of a merge field cannot be changed."))
    if "choices" in body.get("options", {}):
        raise problems.choices_are_fixed()
    options = _options(field.type, field.options | body["options"]) if body.get("options") else field.options
    tag = _cleaned(body.get("tag", "")) or field.tag
    if tag != field.tag:
        audience.retag(field, _free_tag(audience, tag))
    field.options = options
    _write_plain(field, body)
    return _reply(call, audience, field)


def delete_merge_field(call: Call) -> Reply:
    """Delete a field with all that members have in it; their `last_changed` does not move."""
    audience, field = _field(call)
    del audience.merge_fields[field.tag]
    return Reply(None)


def _field(call: Call) -> tuple[Audience, MergeField]:
    audience = call.audience()
    for field in audience.merge_fields.values():
        if str(field.merge_id) == call.keys["merge_id"]:
            return audience, field
    raise problems.not_found()


def _reply(call: Call, audience: Audience, field: MergeField) -> Reply:
    return Reply(asked.only_fields(bodies.merge_field(audience, field), call.query), _SCHEMA)


def _wanted(query: Mapping[str, str], field: MergeField) -> bool:
    if query.get("type", field.type) != field.type:
        return False
    return "required" not in query or asked.flag(query, "required") == field.required


def _cleaned(text: str) -> str:
    """What is left of a tag: ten capitals, digits and underscores."""
    return _NOT_IN_TAGS.sub("", text.upper())[:LONGEST_TAG]


def _free_tag(audience: Audience, text: str) -> str:
    """The tag to use for this text, MMERGE and a number if it has none."""
    tag = _cleaned(text) or f"MMERGE{audience.next_merge_id}"
    if tag in audience.merge_fields or tag in RESERVED_TAGS:
        raise problems.tag_taken(tag)
    return tag


def _write_plain(field: MergeField, body: Mapping[str, Any]) -> None:
    for name in _PLAIN:
        if name in body:
            setattr(field, name, body[name])


def _options(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options a field of this type has; a format that is unknown becomes the default one."""
    if kind in _WITH_CHOICES:
        if not given.get("choices"):
            raise problems.not_validated(("options.choices", "Please enter at least one choice."))
        return {"choices": list(given["choices"])}
    if kind in _DATE_FORMATS:
        usual, other = _DATE_FORMATS[kind]
        return {"date_format": other if given.get("date_format") == other else usual}
    if kind == "phone":
        return {"phone_format": "US" if given.get("phone_format", "US") == "US" else "none"}
    if kind == "address":
        return {"default_country": given.get("default_country", _UNITED_STATES)}
    return {"size": given.get("size", _DEFAULT_SIZE)} if kind == "text" else {}


_CHECKS: dict[str, Check] = {
    "tag": schema.a_string,
    "name": schema.a_name,
    "type": schema.one_of(*merge.TYPES),
    "required": schema.a_boolean,
    "default_value": schema.a_string,
    "public": schema.a_boolean,
    "display_order": schema.an_integer,
    "options": schema.an_object_of(
        {
            "default_country": schema.an_integer,
            "phone_format": schema.a_string,
            "date_format": schema.a_string,
            "choices": schema.array_of(schema.a_string),
            "size": schema.an_integer,
        }
    ),
    "help_text": schema.a_string,
}
