"""The page at /: watch the audiences fill, and play the people in them. Plain HTML, no script."""

import time
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from mailchimp_emulator import clock, people
from mailchimp_emulator.routes import Emulator
from mailchimp_emulator.seeding import UnclearError
from mailchimp_emulator.state import STATUSES, Audience, LogRow, Member

_PAGE = 50
_REQUESTS_SHOWN = 25
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
        return _html(request, "Mailchimp emulator", _front(emulator))

    async def audience(request: Request) -> Response:
        found = emulator.state.audience(request.path_params["list_id"])
        if found is None:
            return _html(request, "Not found", _gone(), status=404)
        return _html(request, found.name, _audience(found, request))

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
        del found.account.audiences[found.id]
        return _back("/", f"The audience {found.name} was deleted.")

    return [
        Route("/", front),
        Route("/audiences/{list_id}", audience),
        Route("/audiences/{list_id}/event", happen, methods=["POST"]),
        Route("/audiences/{list_id}/delete", delete, methods=["POST"]),
    ]


def _front(emulator: Emulator) -> str:
    state = emulator.state
    audiences = list(state.audiences())
    rows = [_audience_row(audience) for audience in audiences]
    heads = ["Audience", "Audience ID", "Account", *(status.capitalize() for status in STATUSES)]
    listing = _table(heads, rows) if rows else '<p class="soft">There is no audience.</p>'
    keys = "".join(
        f"<li><code>{escape(key)}</code> <span class='soft'>{escape(user.name)}, {escape(user.role)},"
        f" {escape(user.account.name)}</span></li>"
        for account in state.accounts
        for user in account.users
        for key in user.keys
    )
    recent = [_request_row(row) for row in list(state.log)[: -_REQUESTS_SHOWN - 1 : -1]]
    requests = _table(["Time", "User", "Request", "Status", "Changed", "Fault"], recent)
    return (
        _section("Audiences", listing)
        + _section("API keys", f"<ul>{keys}</ul>")
        + _section(f"Last requests ({state.requests} in all)", requests if recent else _quiet())
    )


def _audience_row(audience: Audience) -> list[str]:
    name = f'<a href="/audiences/{quote(audience.id)}">{escape(audience.name)}</a>'
    counts = [f'<span class="{status}">{audience.counts[status]}</span>' for status in STATUSES]
    return [name, f"<code>{escape(audience.id)}</code>", escape(audience.account.name), *counts]


def _request_row(row: LogRow) -> list[str]:
    status = "open" if row.status is None else str(row.status)
    kind = "ok" if row.status and row.status < 400 else "failed"
    return [
        time.strftime("%H:%M:%S", time.gmtime(row.time)),
        escape(row.user),
        f"<code>{escape(row.method)} {escape(row.path)}</code>",
        f'<span class="{kind}">{status}</span>',
        str(row.writes or ""),
        escape(row.fault or ""),
    ]


def _audience(audience: Audience, request: Request) -> str:
    wanted = request.query_params.get("q", "").strip().lower()
    text = request.query_params.get("page", "1")
    number = max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 8 else 1
    found = [member for member in audience.in_order_of_arrival() if wanted in member.email_address.lower()]
    shown = found[(number - 1) * _PAGE : number * _PAGE]
    rows = [_member_row(audience, member) for member in shown]
    heads = ["Address", "Status", "Merge fields", "Tags", "Last changed", "What this person can do"]
    counts = ", ".join(f'<span class="{status}">{audience.counts[status]} {status}</span>' for status in STATUSES)
    search = (
        f'<form class="row" method="get"><label for="q">Address</label>'
        f'<input id="q" name="q" type="search" value="{escape(wanted)}"><button>Search</button></form>'
    )
    listing = _table(heads, rows) if rows else '<p class="soft">Nobody here.</p>'
    pages = _pages(number, (len(found) + _PAGE - 1) // _PAGE, wanted)
    delete = (
        f'<form method="post" action="/audiences/{quote(audience.id)}/delete">'
        '<button class="grave">Delete this audience</button></form>'
    )
    facts = f"<p>{counts}</p><p class='soft'>Audience ID <code>{escape(audience.id)}</code></p>"
    sign_up = _event_form(audience, "signup", "Sign up", field=True)
    return (
        _section(escape(audience.name), facts + search)
        + _section(f"Members ({len(found)})", listing + pages)
        + _section("Somebody new signs up on Mailchimp's form", sign_up)
        + _section("The merchant", delete)
    )


def _member_row(audience: Audience, member: Member) -> list[str]:
    values = ", ".join(f"{tag} {value}" for tag, value in member.merge_fields.items())
    actions = "".join(
        _event_form(audience, event, words, email=member.email_address) for event, words in _CAN[member.status]
    )
    return [
        escape(member.email_address),
        f'<span class="{member.status}">{member.status}</span>',
        escape(values),
        escape(", ".join(tag.name for tag, _ in member.tags)),
        clock.written(member.last_changed).replace("T", " ")[:19],
        f'<div class="row">{actions}</div>',
    ]


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


def _pages(number: int, last: int, wanted: str) -> str:
    if last <= 1:
        return ""
    places = [(number - 1, "Previous")] if number > 1 else []
    places += [(number + 1, "Next")] if number < last else []
    anchors = " ".join(
        f'<a href="?{escape(urlencode({"q": wanted, "page": page}))}">{words}</a>' for page, words in places
    )
    return f'<p class="row">Page {number} of {last} {anchors}</p>'


def _table(heads: Iterable[str], rows: Iterable[list[str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


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
    kept = {name: value for name, value in request.query_params.items() if name in ("q", "page")}
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
