"""GET /oauth2/metadata of Mailchimp's login host, where an app learns which data centre a token belongs to."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mailchimp_emulator import bodies, hashing
from mailchimp_emulator.routes import Emulator
from mailchimp_emulator.state import User

_SCHEMES = ("oauth", "bearer")


def routes(emulator: Emulator) -> list[Route]:
    """An API key counts as a token; a token of nobody is refused."""

    async def metadata(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = emulator.state.users_by_key.get(token.strip())
        if scheme.lower() not in _SCHEMES or user is None or user.disabled:
            return _json({"error": "invalid_token"}, 401)
        return _json(_metadata(user), 200)

    return [Route("/oauth2/metadata", metadata, methods=["GET"])]


def _metadata(user: User) -> dict[str, Any]:
    account = user.account
    email = bodies.email_of(user)
    return {
        "dc": account.dc,
        "role": user.role,
        "accountname": account.name,
        "user_id": _number(account.account_id),
        "login": {
            "email": email,
            "avatar": None,
            "login_id": _number(user.login_id),
            "login_name": email,
            "login_email": email,
        },
        "login_url": "https://login.mailchimp.com",
        "api_endpoint": f"https://{account.dc}.api.mailchimp.com",
    }


def _number(text: str) -> int:
    """Ids are numbers here, while a test may have called its users anything."""
    return int(text) if text.isdecimal() else hashing.number(text)


def _json(body: dict[str, Any], status: int) -> Response:
    """JSON with its slashes escaped, as recorded."""
    return Response(orjson.dumps(body).replace(b"/", rb"\/"), status, media_type="application/json")
