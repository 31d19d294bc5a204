"""The page at /: watch the audiences fill, and play the people in them. Plain HTML, no script."""

import time
from collections.abc import Iterable, Iterator
from html import escape
from itertools import islice
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from mailchimp_emulator import clock, people
from mailchimp_emulator.routes import Emulator
from mailchimp_emulator.seeding import UnclearError
from mailchimp_emulator.state import STATUSES, Audience, AuditRow, LogRow, Member, State

_PAGE = 50
_REQUESTS_SHOWN = 25
_CHANGES_SHOWN = 15
_CHANGES_LOOKED_AT = 5_000
_REFRESH_SECONDS = 3
_TEMPLATE = Template((Path(__file__).parent / "page.html").read_text())
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}
# What a person in this status can do: event, words on the button.
_CAN: dict[str, tuple[tuple[str, str], ...]] = {
    "subscribed": (
        ("unsubscribe", "Unsubscribe"),
        ("complaint", "Complain"),
        ("hard_bounce", "Hard bounce"),
        ("archive", "Archive"),
    ),
    "unsubscribed": (("signup", "Sign up again"), ("archive", "Archive")),
    "pending": (("confirm", "Confirm"), ("hard_bounce", "Hard bounce")),
    "cleaned": (("signup", "Sign up again"),),
    "transactional": (("signup", "Sign up"), ("archive", "Archive")),
    "archived": (("signup", "Sign up again"),),
}


def routes(emulator: Emulator) -> list[Route]:
    """The pages and the forms on them. Forms are taken only from our own pages."""

    async def front(request: Request) -> Response:
        return _html(request, "Mailchimp emulator", _front(emulator, request))

    async def audience(request: Request) -> Response:
        found = emulator.state.audience(request.path_params["list_id"])
        if found is None:
            return _html(request, "Not found", _gone(), status=404)
        return _html(request, found.name, _audience(emulator.state, found, request))

    async def happen(request: Request) -> Response:
        if not _from_here(request):
            return Response("This form belongs on the emulator's own page.\n", 403, media_type="text/plain")
        list_id = request.path_params["list_id"]
        sent = {name: values[0] for name, values in parse_qs((await request.body()).decode(errors="replace")).items()}
        email, event = sent.get("email", ""), sent.get("event", "")
        try:
            people.happen(emulator.state, {"list_id": list_id, "email": email, "event": event})
            said = f"{email}: {event.replace('_', ' ')}"
        except UnclearError as unclear:
            said = f"Not done. {unclear}"
        return _back(f"/audiences/{quote(list_id)}", said)

    async def delete(request: Request) -> Response:
        if not _from_here(request):
            return Response("This form belongs on the emulator's own page.\n", 403, media_type="text/plain")
        found = emulator.state.audience(request.path_params["list_id"])
        if found is None:
            return _back("/", "That audience is not there any more.")
        emulator.state.delete_audience(found)
        return _back("/", f"The audience {found.name} was deleted.")

    return [
        Route("/", front),
        Route("/audiences/{list_id}", audience),
        Route("/audiences/{list_id}/event", happen, methods=["POST"]),
        Route("/audiences/{list_id}/delete", delete, methods=["POST"]),
    ]


def _front(emulator: Emulator, request: Request) -> str:
    state = emulator.state
    rows = [_audience_row(audience) for audience in state.audiences()]
    heads = ["Audience", "Audience ID", "Account", *(status.capitalize() for status in STATUSES)]
    listing = _table(heads, rows) if rows else '<p class="soft">There is no audience.</p>'
    keys = "".join(
        f"<li><code>{escape(key)}</code> <span class='soft'>{escape(user.name)}"
        f" ({escape(user.role)}) of {escape(user.account.name)}</span></li>"
        for account in state.accounts
        for user in account.users
        for key in user.keys
    )
    recent = [_request_row(row) for row in list(state.log)[: -_REQUESTS_SHOWN - 1 : -1]]
    requests = _table(["Time", "User", "Request", "Status", "Changed", "Fault"], recent)
    return (
        _section("Audiences", listing)
        + _section("API keys", f"<ul class='plain'>{keys}</ul>" + _addresses(request))
        + _section(f"Last requests ({state.requests:,} in all)", requests if recent else _quiet())
    )


def _addresses(request: Request) -> str:
    """Where a client has to call instead of the real Mailchimp."""
    api = f"{request.url.scheme}://{request.url.netloc}"
    return (
        f'<p class="soft">The API is at <code>{escape(api)}/3.0</code>, and per data centre at'
        f" <code>{escape(api)}/us14/3.0</code>; the data centre is the end of the key.</p>"
    )


def _audience_row(audience: Audience) -> list[str]:
    name = f'<a href="/audiences/{quote(audience.id)}">{escape(audience.name)}</a>'
    counts = [f'<span class="{status}">{audience.counts[status]:,}</span>' for status in STATUSES]
    return [name, f"<code>{escape(audience.id)}</code>", escape(audience.account.name), *counts]


def _request_row(row: LogRow) -> list[str]:
    status = "open" if row.status is None else str(row.status)
    kind = "ok" if row.status and row.status < 400 else "failed"
    return [
        time.strftime("%H:%M:%S", time.gmtime(row.time)),
        escape(row.user),
        f"<code>{escape(row.method)} {escape(row.path)}</code>{_in_batch(row)}",
        f'<span class="{kind}">{status}</span>',
        str(row.writes or ""),
        escape(row.fault or ""),
    ]


def _in_batch(row: LogRow) -> str:
    return f' <span class="soft">in batch {escape(row.batch)}</span>' if row.batch else ""


def _audience(state: State, audience: Audience, request: Request) -> str:
    wanted = request.query_params.get("q", "").strip().lower()
    status = request.query_params.get("status", "")
    number = _page_number(request)
    found = islice(_found(audience, wanted, status), (number - 1) * _PAGE, number * _PAGE + 1)
    members = list(found)
    rows = [_member_row(audience, member) for member in members[:_PAGE]]
    heads = ["Address", "Status", "Merge fields", "Tags", "Last changed", "What can happen"]
    listing = _table(heads, rows) if rows else '<p class="soft">Nobody here.</p>'
    pages = _pages(number, {"q": wanted, "status": status}, more=len(members) > _PAGE)
    delete = (
        f'<form method="post" action="/audiences/{quote(audience.id)}/delete">'
        '<button class="grave">Delete this audience</button></form>'
    )
    facts = f"<p class='soft'>Audience ID <code>{escape(audience.id)}</code></p>"
    return (
        _section(escape(audience.name), facts + _filter(audience, wanted, status))
        + _section("Members", listing + pages)
        + _section("Last changes", _changes(state, audience))
        + _section("Somebody signs up on Mailchimp's form", _event_form(audience, "signup", "Sign up", field=True))
        + _section("The merchant", delete)
    )


def _found(audience: Audience, wanted: str, status: str) -> Iterator[Member]:
    """Members whose address holds the text and who have the status; as they arrived, found as they are asked for."""
    return (
        member
        for member in audience.in_order_of_arrival()
        if (not status or member.status == status) and (not wanted or wanted in member.email_address.lower())
    )


def _filter(audience: Audience, wanted: str, status: str) -> str:
    total = sum(audience.counts.values())
    options = [f'<option value="">everybody ({total:,})</option>'] + [
        f'<option value="{name}"{" selected" if name == status else ""}>{name} ({audience.counts[name]:,})</option>'
        for name in STATUSES
    ]
    return (
        f'<form class="row" method="get"><label for="status">Status</label>'
        f'<select id="status" name="status">{"".join(options)}</select><label for="q">Address</label>'
        f'<input id="q" name="q" type="search" value="{escape(wanted)}"><button>Show</button></form>'
    )


def _member_row(audience: Audience, member: Member) -> list[str]:
    values = ", ".join(f"{tag} {value}" for tag, value in audience.tagged(member).items() if value != "")
    actions = "".join(
        _event_form(audience, event, words, email=member.email_address) for event, words in _CAN[member.status]
    )
    return [
        escape(member.email_address),
        f'<span class="{member.status}">{member.status}</span>',
        escape(values),
        escape(", ".join(tag.name for tag, _ in member.tags)),
        _moment(member.last_changed),
        f'<div class="row">{actions}</div>',
    ]


def _changes(state: State, audience: Audience) -> str:
    """What was changed lately in this audience, the newest first, and by which request or event."""
    newest = (state.audit[place] for place in range(len(state.audit) - 1, -1, -1))
    of_audience = (row for row in islice(newest, _CHANGES_LOOKED_AT) if row.list_id == audience.id)
    rows = [_change_row(row) for row in islice(of_audience, _CHANGES_SHOWN)]
    if not rows:
        return '<p class="soft">Nothing has changed since the start.</p>'
    return _table(["Time", "Address", "What", "Before", "After", "By"], rows)


def _change_row(row: AuditRow) -> list[str]:
    by = f"request {row.request:,}" if isinstance(row.request, int) else row.request.removeprefix("member_event ")
    what = row.event if row.event in ("created", "deleted") else row.field
    return [
        _moment(row.time),
        escape(row.email_address),
        escape(what.replace("_", " ")),
        escape(_value(row.old)),
        escape(_value(row.told()["new"])),
        escape(by.replace("_", " ")),
    ]


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(_value(item) for item in value.values() if item)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str("" if value is None else value)


def _moment(moment: int) -> str:
    return clock.written(moment).replace("T", " ")[:19]


def _event_form(audience: Audience, event: str, words: str, *, email: str = "", field: bool = False) -> str:
    address = (
        '<label for="email">Address</label><input id="email" name="email" type="email" required>'
        if field
        else f'<input type="hidden" name="email" value="{escape(email)}">'
    )
    label = "" if field else f' aria-label="{escape(words)}: {escape(email)}"'
    return (
        f'<form class="row" method="post" action="/audiences/{quote(audience.id)}/event">{address}'
        f'<input type="hidden" name="event" value="{event}"><button{label}>{words}</button></form>'
    )


def _page_number(request: Request) -> int:
    text = request.query_params.get("page", "1")
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 8 else 1


def _pages(number: int, asked: dict[str, str], *, more: bool) -> str:
    places = [(number - 1, "Previous")] if number > 1 else []
    places += [(number + 1, "Next")] if more else []
    if not places:
        return ""
    anchors = " ".join(f'<a href="?{escape(urlencode({**asked, "page": page}))}">{words}</a>' for page, words in places)
    return f'<p class="row">Page {number:,} {anchors}</p>'


def _table(heads: Iterable[str], rows: Iterable[list[str]]) -> str:
    """A table; where the screen is narrow each row is a block of its own, and every cell names its column."""
    names = [escape(name) for name in heads]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(f"<tr>{_cells(names, row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(names: list[str], row: list[str]) -> str:
    return "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in zip(names, row, strict=True))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _quiet() -> str:
    return '<p class="soft">Nobody has asked anything yet.</p>'


def _gone() -> str:
    return _section("Not found", '<p>This audience is not there (any more). <a href="/">All audiences</a></p>')


def _html(request: Request, title: str, content: str, status: int = 200) -> Response:
    """A whole page; with `?live=1` it reloads itself every few seconds."""
    live = request.query_params.get("live") == "1"
    said = request.query_params.get("said", "")
    kept = {name: value for name, value in request.query_params.items() if name in ("q", "status", "page")}
    there = f"{request.url.path}?{urlencode(kept if live else {**kept, 'live': 1})}"
    words = "Stop refreshing" if live else f"Refresh every {_REFRESH_SECONDS} s"
    text = _TEMPLATE.substitute(
        title=escape(title),
        subtitle=f'<a href="{escape(there)}">{words}</a>',
        refresh=f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">' if live else "",
        notice=f'<section class="notice" role="status">{escape(said)}</section>' if said else "",
        content=content,
    )
    return HTMLResponse(text, status, headers=_SECURITY)


def _back(path: str, said: str) -> Response:
    return RedirectResponse(f"{path}?{urlencode({'said': said})}", 303)


def _from_here(request: Request) -> bool:
    """Whether the form was sent from this server's pages: another site's page must not delete audiences."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
