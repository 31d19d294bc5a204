"""The webhooks of an audience: made, read, changed and deleted through the API. A new URL is asked before it counts."""

import secrets
from collections.abc import Mapping
from typing import Any

from mailchimp_emulator import asked, bodies, hooks, outgoing, problems, schema
from mailchimp_emulator.handlers import Call, Reply
from mailchimp_emulator.hooks import EVENTS, SOURCES, Webhook
from mailchimp_emulator.state import Audience

VALIDATOR = "MailChimp.com WebHook Validator"
_SCHEMA = "Lists/Webhooks"
_LINKS = (
    ("update", "PATCH", "", f"{_SCHEMA}/Response", f"Definitions/{_SCHEMA}/PATCH"),
    ("delete", "DELETE", "", "", ""),
)


def get_webhooks(call: Call) -> Reply:
    audience = call.audience()
    found = list(audience.webhooks.values())
    body = {
        "webhooks": [_body(audience, hook) for hook in asked.page(call.query).of(found)],
        "list_id": audience.id,
        "total_items": len(found),
        "_links": _collection_links(audience),
    }
    return Reply(asked.only_fields(body, call.query), f"{_SCHEMA}/Collection")


def get_webhook(call: Call) -> Reply:
    return _reply(call, _body(*_webhook(call)))


async def post_webhook(call: Call) -> Reply:
    """Add a webhook whose URL answers. Only this reply shows the secret that its deliveries are signed with."""
    audience = call.audience()
    body = _checked(call.body)
    if "url" not in body:
        raise problems.not_validated(problems.required("url"))
    await _verify(call, audience, body["url"], None)
    hook = Webhook(
        id=secrets.token_hex(5),
        list_id=audience.id,
        url=body["url"],
        events=hooks.flags(EVENTS, body.get("events", {})),
        sources=hooks.flags(SOURCES, body.get("sources", {})),
        secret=secrets.token_hex(32),
    )
    audience.webhooks[hook.id] = hook
    return _reply(call, _body(audience, hook, with_secret=True))


async def patch_webhook(call: Call) -> Reply:
    """Change what is sent; flags that are left out stay as they are."""
    audience, hook = _webhook(call)
    body = _checked(call.body)
    url = body.get("url", hook.url)
    if url != hook.url:
        await _verify(call, audience, url, hook)
    hook.url = url
    hook.events |= body.get("events", {})
    hook.sources |= body.get("sources", {})
    return _reply(call, _body(audience, hook))


def delete_webhook(call: Call) -> Reply:
    audience, hook = _webhook(call)
    del audience.webhooks[hook.id]
    call.state.outbox.drop(hook)
    return Reply(None)


def _webhook(call: Call) -> tuple[Audience, Webhook]:
    audience = call.audience()
    hook = audience.webhooks.get(call.keys["webhook_id"])
    if hook is None:
        raise problems.not_found()
    return audience, hook


def _checked(sent: Any) -> dict[str, Any]:
    """The body, if its parts are of the right kind; other properties are ignored."""
    body = schema.an_object(sent)
    errors = schema.a_string("url", body["url"]) if "url" in body else []
    for name, names in (("events", EVENTS), ("sources", SOURCES)):
        if name in body:
            errors += _flag_errors(name, body[name], names)
    if errors:
        raise problems.not_validated(*errors)
    return body


def _flag_errors(name: str, value: Any, names: tuple[str, ...]) -> schema.Errors:
    errors = schema.of_type(dict, "object")(name, value)
    for flag, on in value.items() if not errors else ():
        if flag in names:
            errors += schema.of_type(bool, "boolean")(f"{name}.{flag}", on)
        else:
            message = f"Data presented is not one of the accepted values: {', '.join(names)}."
            errors.append((f"{name}.{flag}", message))
    return errors


async def _verify(call: Call, audience: Audience, url: str, hook: Webhook | None) -> None:
    """Refuse a URL that is another webhook's, that cannot be reached, or that answers a GET with other than 200."""
    _check_single(audience, url, hook)
    async with outgoing.session(call.state.outbox.answer_seconds) as session:
        answer = await outgoing.call(session, "GET", url, {"User-Agent": VALIDATOR})
    if answer.status is None:
        raise _refused("Invalid URL")
    if answer.status != 200:
        message = "We couldn't verify the URL is working. Please double check and try again. HTTP Code: {}"
        raise _refused(message.format(answer.status))
    _still_there(call, audience, hook)
    _check_single(audience, url, hook)


def _check_single(audience: Audience, url: str, hook: Webhook | None) -> None:
    if any(other.answers_for(url) for other in audience.webhooks.values() if other is not hook):
        raise _refused("Sorry, you can't set up multiple WebHooks for one URL")


def _still_there(call: Call, audience: Audience, hook: Webhook | None) -> None:
    """Much may have happened while the URL was asked."""
    if call.audience() is not audience or (hook is not None and audience.webhooks.get(hook.id) is not hook):
        raise problems.not_found()


def _refused(message: str) -> problems.Problem:
    return problems.not_validated(("url", message))


def _reply(call: Call, body: Mapping[str, Any]) -> Reply:
    return Reply(asked.only_fields(dict(body), call.query), f"{_SCHEMA}/Instance")


def _body(audience: Audience, hook: Webhook, *, with_secret: bool = False) -> bodies.Json:
    collection = f"/lists/{audience.id}/webhooks"
    body = {
        "id": hook.id,
        "url": hook.url,
        "events": hook.events,
        "sources": hook.sources,
        "list_id": audience.id,
        "signing_enabled": hook.secret is not None,
    }
    if with_secret:
        body["signing_secret"] = hook.secret
    path = f"{collection}/{hook.id}"
    return body | {
        "_links": [
            bodies.link(audience.account, "self", "GET", path, f"{_SCHEMA}/Response"),
            bodies.link(
                audience.account,
                "parent",
                "GET",
                collection,
                f"{_SCHEMA}/CollectionResponse",
                f"Paths/{_SCHEMA}/Collection",
            ),
            *bodies.links(audience.account, path, _LINKS),
        ]
    }


def _collection_links(audience: Audience) -> list[bodies.Link]:
    path = f"/lists/{audience.id}"
    collection = f"{path}/webhooks"
    account = audience.account
    return [
        bodies.link(account, "self", "GET", collection, f"{_SCHEMA}/CollectionResponse", f"Paths/{_SCHEMA}/Collection"),
        bodies.link(account, "create", "POST", collection, f"{_SCHEMA}/Response", f"Definitions/{_SCHEMA}/POST"),
        bodies.link(account, "parent", "GET", path, "Lists/Response"),
    ]
