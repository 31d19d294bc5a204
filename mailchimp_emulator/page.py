"""The page at / (being built)."""

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from mailchimp_emulator.routes import Emulator


def routes(emulator: Emulator) -> list[Route]:
    async def front(_request: Request) -> HTMLResponse:
        return HTMLResponse(
            f"<!doctype html><title>Mailchimp emulator</title>{emulator.state.requests} requests"
        )

    return [Route("/", front)]
