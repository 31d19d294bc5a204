"""Reply bodies with every field in the recorded order."""

from typing import Any

from mailchimp_emulator import hashing
from mailchimp_emulator.clock import written
from mailchimp_emulator.state import Account, Audience, Batch, Member, MergeField, User

SCHEMA = "https://{dc}.api.mailchimp.com/schema/3.0/"
API = "https://{dc}.api.mailchimp.com/3.0"

Link = dict[str, str]
Json = dict[str, Any]

# rel, method, path behind the resource, target schema, schema
_MEMBER_LINKS = (
    ("update", "PATCH", "", "Lists/Members/Response", "Definitions/Lists/Members/PATCH"),
    ("upsert", "PUT", "", "Lists/Members/Response", "Definitions/Lists/Members/PUT"),
    ("delete", "DELETE", "", "", ""),
    ("activity", "GET", "/activity", "Lists/Members/Activity/Response", ""),
    ("goals", "GET", "/goals", "Lists/Members/Goals/Response", ""),
    ("notes", "GET", "/notes", "Lists/Members/Notes/CollectionResponse", ""),
    ("events", "POST", "/events", "Lists/Members/Events/POST", ""),
    ("delete_permanent", "POST", "/actions/delete-permanent", "", ""),
)
_LIST_LINKS = (
    ("update", "PATCH", "", "Lists/Response", "Definitions/Lists/PATCH"),
    ("batch-sub-unsub-members", "POST", "", "Lists/BatchPOST-Response", "Definitions/Lists/BatchPOST"),
    ("delete", "DELETE", "", "", ""),
    (
        "abuse-reports",
        "GET",
        "/abuse-reports",
        "Lists/Abuse/CollectionResponse",
        "Paths/Lists/Abuse/Collection",
    ),
    ("activity", "GET", "/activity", "Lists/Activity/Response", ""),
    ("clients", "GET", "/clients", "Lists/Clients/Response", ""),
    (
        "growth-history",
        "GET",
        "/growth-history",
        "Lists/Growth/CollectionResponse",
        "Paths/Lists/Growth/Collection",
    ),
    (
        "interest-categories",
        "GET",
        "/interest-categories",
        "Lists/InterestCategories/CollectionResponse",
        "Paths/Lists/InterestCategories/Collection",
    ),
    ("members", "GET", "/members", "Lists/Members/CollectionResponse", "Paths/Lists/Members/Collection"),
    (
        "merge-fields",
        "GET",
        "/merge-fields",
        "Lists/MergeFields/CollectionResponse",
        "Paths/Lists/MergeFields/Collection",
    ),
    ("segments", "GET", "/segments", "Lists/Segments/CollectionResponse", "Paths/Lists/Segments/Collection"),
    ("webhooks", "GET", "/webhooks", "Lists/Webhooks/CollectionResponse", "Paths/Lists/Webhooks/Collection"),
    (
        "signup-forms",
        "GET",
        "/signup-forms",
        "Lists/SignupForms/CollectionResponse",
        "Paths/Lists/SignupForms/Collection",
    ),
    (
        "locations",
        "GET",
        "/locations",
        "Lists/Locations/CollectionResponse",
        "Paths/Lists/Locations/Collection",
    ),
)
_NOT_IN_BULK = {
    "full_name",
    "unsubscribe_reason",
    "consents_to_one_to_one_messaging",
    "sms_phone_number",
    "sms_subscription_status",
    "sms_subscription_last_updated",
    "marketing_permissions",
}
_MERGE_FIELD_LINKS = (
    ("update", "PATCH", "", "Lists/MergeFields/Response", "Definitions/Lists/MergeFields/PATCH"),
    ("delete", "DELETE", "", "", ""),
)


def root(user: User) -> Json:
    """What GET / says of the account and of the user whose key asked."""
    account = user.account
    email = email_of(user)
    return {
        "account_id": account.account_id,
        "login_id": user.login_id,
        "account_name": account.name,
        "email": email,
        "first_name": user.name,
        "last_name": "",
        "username": email,
        "avatar_url": "",
        "role": user.role,
        "member_since": written(account.created_at),
        "pricing_plan_type": "monthly",
        "first_payment": written(account.created_at),
        "account_timezone": "UTC",
        "account_industry": "",
        "contact": {
            "company": account.name,
            "addr1": "1 Example Street",
            "addr2": "",
            "city": "Springfield",
            "state": "NS",
            "zip": "00000",
            "country": "US",
        },
        "pro_enabled": False,
        "last_login": written(account.created_at),
        "total_subscribers": sum(audience.counts["subscribed"] for audience in account.audiences.values()),
        "_links": [
            link(account, "self", "GET", "", "Response"),
            link(account, "lists", "GET", "/lists", "Lists/CollectionResponse", "Paths/Lists/Collection"),
        ],
    }


def email_of(user: User) -> str:
    return f"{user.name.lower().replace(' ', '.')}@{user.account.dc}.example"


def list_of(audience: Audience, *, total_contacts: bool = False) -> Json:
    """One audience with its counts, which are never cached here."""
    account = audience.account
    counts = audience.counts
    every = {"total_contacts": len(audience.members)} if total_contacts else {}
    body = {
        "id": audience.id,
        "web_id": audience.web_id,
        "name": audience.name,
        "contact": {
            "company": account.name,
            "address1": "1 Example Street",
            "address2": "",
            "city": "Springfield",
            "state": "NS",
            "zip": "00000",
            "country": "US",
            "phone": "",
        },
        "permission_reminder": "You are receiving this email because you opted in at our shop.",
        "use_archive_bar": True,
        "campaign_defaults": {
            "from_name": account.name,
            "from_email": f"hello@{account.dc}.example",
            "subject": "",
            "language": "en",
        },
        "notify_on_subscribe": "",
        "notify_on_unsubscribe": "",
        "date_created": written(audience.created_at),
        "list_rating": 0,
        "email_type_option": False,
        "subscribe_url_short": f"http://eepurl.example/{audience.id}",
        "subscribe_url_long": f"https://{account.dc}.list-manage.example/subscribe?u={account.account_id}&id={audience.id}",
        "beamer_address": f"{account.dc}-{audience.id}@inbound.example",
        "visibility": "prv",
        "double_optin": audience.double_optin,
        "has_welcome": False,
        "marketing_permissions": bool(audience.permissions),
        "modules": [],
        "stats": {
            "member_count": counts["subscribed"],
            **every,
            "unsubscribe_count": counts["unsubscribed"],
            "cleaned_count": counts["cleaned"],
            "member_count_since_send": counts["subscribed"],
            "unsubscribe_count_since_send": counts["unsubscribed"],
            "cleaned_count_since_send": counts["cleaned"],
            "campaign_count": 0,
            "campaign_last_sent": "",
            "merge_field_count": len(audience.merge_fields),
            "avg_sub_rate": 0,
            "avg_unsub_rate": 0,
            "target_sub_rate": 0,
            "open_rate": 0,
            "click_rate": 0,
            "last_sub_date": written(audience.last_sub_at),
            "last_unsub_date": written(audience.last_unsub_at),
        },
        "_links": [
            link(account, "self", "GET", f"/lists/{audience.id}", "Lists/Response"),
            link(account, "parent", "GET", "/lists", "Lists/CollectionResponse", "Paths/Lists/Collection"),
            *links(account, f"/lists/{audience.id}", _LIST_LINKS),
        ],
    }
    return body | audience.settings


def list_collection_links(account: Account) -> list[Link]:
    return [
        link(account, "self", "GET", "/lists", "Lists/CollectionResponse", "Paths/Lists/Collection"),
        link(account, "create", "POST", "/lists", "Lists/Response", "Definitions/Lists/POST"),
    ]


def bulk_links(audience: Audience) -> list[Link]:
    path = f"/lists/{audience.id}"
    return [
        link(audience.account, "self", "GET", path, "Lists/Response"),
        link(audience.account, "parent", "GET", "/lists", "Lists/CollectionResponse", "Paths/Lists/Collection"),
    ]


def bulk_member(audience: Audience, person: Member) -> Json:
    """One member as the reply to POST /lists/{list_id} has it: fewer keys than everywhere else, as published."""
    body = {name: value for name, value in member(audience, person).items() if name not in _NOT_IN_BULK}
    del body["location"]["region"]
    return body


def member(audience: Audience, person: Member, *, with_links: bool = True) -> Json:
    """One member. `unsubscribe_reason`, `interests` and `marketing_permissions` are there only where they apply."""
    values = audience.tagged(person)
    body: Json = {
        "id": person.id,
        "email_address": person.email_address,
        "unique_email_id": unique_email_id(audience, person),
        "contact_id": hashing.contact_id(audience.id, person.web_id),
        "full_name": f"{values.get('FNAME', '')} {values.get('LNAME', '')}".strip(),
        "web_id": person.web_id,
        "email_type": person.email_type,
        "status": person.status,
    }
    if person.status == "unsubscribed":
        body["unsubscribe_reason"] = person.unsubscribe_reason
    body |= {
        "consents_to_one_to_one_messaging": True,
        "sms_phone_number": "",
        "sms_subscription_status": "",
        "sms_subscription_last_updated": "",
        "merge_fields": values,
    }
    if audience.interests:
        body["interests"] = {key: key in person.interests for key in audience.interests}
    body |= {
        "stats": {"avg_open_rate": 0, "avg_click_rate": 0},
        "ip_signup": person.ip_signup,
        "timestamp_signup": written(person.timestamp_signup),
        "ip_opt": person.ip_opt,
        "timestamp_opt": written(person.timestamp_opt),
        "member_rating": 2,
        "last_changed": written(person.last_changed),
        "language": person.language,
        "vip": person.vip,
        "email_client": "",
        "location": {
            "latitude": person.location[0],
            "longitude": person.location[1],
            "gmtoff": 0,
            "dstoff": 0,
            "country_code": "",
            "timezone": "",
            "region": "",
        },
    }
    if audience.permissions:
        body["marketing_permissions"] = [
            {"marketing_permission_id": key, "text": text, "enabled": key in person.permissions}
            for key, text in audience.permissions.items()
        ]
    body |= {
        "source": person.source,
        "tags_count": len(person.tags),
        "tags": [{"id": tag.id, "name": tag.name} for tag, _ in person.tags[:50]],
        "list_id": audience.id,
    }
    if with_links:
        body["_links"] = member_links(audience, person)
    return body


def unique_email_id(audience: Audience, person: Member) -> str:
    return hashing.unique_email_id(audience.account.account_id, person.email_address)


def member_links(audience: Audience, person: Member) -> list[Link]:
    path = f"/lists/{audience.id}/members"
    return [
        link(audience.account, "self", "GET", f"{path}/{person.id}", "Lists/Members/Response"),
        link(
            audience.account,
            "parent",
            "GET",
            path,
            "Lists/Members/CollectionResponse",
            "Paths/Lists/Members/Collection",
        ),
        *links(audience.account, f"{path}/{person.id}", _MEMBER_LINKS),
    ]


def member_collection_links(audience: Audience) -> list[Link]:
    path = f"/lists/{audience.id}"
    members = f"{path}/members"
    account = audience.account
    return [
        link(
            account,
            "self",
            "GET",
            members,
            "Lists/Members/CollectionResponse",
            "Paths/Lists/Members/Collection",
        ),
        link(account, "parent", "GET", path, "Lists/Members/Response"),
        link(account, "create", "POST", members, "Lists/Members/Response", "Definitions/Lists/Members/POST"),
    ]


def member_tags(person: Member) -> list[Json]:
    return [{"id": tag.id, "name": tag.name, "date_added": written(added)} for tag, added in person.tags]


def merge_field(audience: Audience, item: MergeField) -> Json:
    collection = f"/lists/{audience.id}/merge-fields"
    path = f"{collection}/{item.merge_id}"
    schema = "Lists/MergeFields"
    return {
        "merge_id": item.merge_id,
        "tag": item.tag,
        "name": item.name,
        "type": item.type,
        "required": item.required,
        "default_value": item.default_value,
        "public": item.public,
        "display_order": item.display_order,
        "options": item.options,
        "help_text": item.help_text,
        "list_id": audience.id,
        "_links": [
            link(audience.account, "self", "GET", path, f"{schema}/Response"),
            link(
                audience.account,
                "parent",
                "GET",
                collection,
                f"{schema}/CollectionResponse",
                f"Paths/{schema}/Collection",
            ),
            *links(audience.account, path, _MERGE_FIELD_LINKS),
        ],
    }


def merge_field_collection_links(audience: Audience) -> list[Link]:
    path = f"/lists/{audience.id}"
    fields = f"{path}/merge-fields"
    schema = "Lists/MergeFields"
    account = audience.account
    return [
        link(account, "self", "GET", fields, f"{schema}/CollectionResponse", f"Paths/{schema}/Collection"),
        link(account, "create", "POST", fields, f"{schema}/Response", f"Definitions/{schema}/POST"),
        link(account, "parent", "GET", path, "Lists/Response"),
    ]


def batch(account: Account, item: Batch, response_body_url: str) -> Json:
    """One batch; until it is finished the moment of completion and the address of the results are ""."""
    return {
        "id": item.id,
        "status": item.status,
        "total_operations": item.total_operations,
        "finished_operations": item.finished_operations,
        "errored_operations": item.errored_operations,
        "submitted_at": written(item.submitted_at),
        "completed_at": written(item.completed_at),
        "response_body_url": response_body_url,
        "_links": [
            _batches_link(account, "parent"),
            link(account, "self", "GET", f"/batches/{item.id}", "Batches/Response"),
            link(account, "delete", "DELETE", f"/batches/{item.id}"),
        ],
    }


def batch_collection_links(account: Account) -> list[Link]:
    return [
        _batches_link(account, "self"),
        link(account, "create", "POST", "/batches", "Batches/Response", "Definitions/Batches/POST"),
    ]


def _batches_link(account: Account, rel: str) -> Link:
    return link(account, rel, "GET", "/batches", "Batches/CollectionResponse", "CollectionLinks/Batches")


def links(account: Account, path: str, rows: tuple[tuple[str, str, str, str, str], ...]) -> list[Link]:
    return [link(account, rel, method, path + tail, target, schema) for rel, method, tail, target, schema in rows]


def link(account: Account, rel: str, method: str, path: str, target: str = "", schema: str = "") -> Link:
    """One entry of `_links`; target schemas live below Definitions/."""
    entry = {"rel": rel, "href": f"{API.replace('{dc}', account.dc)}{path}", "method": method}
    base = SCHEMA.replace("{dc}", account.dc)
    if target:
        entry["targetSchema"] = f"{base}Definitions/{target}.json"
    if schema:
        entry["schema"] = f"{base}{schema}.json"
    return entry
