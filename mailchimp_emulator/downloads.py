"""Where results of batches are fetched: outside the API, by signed address and without a key."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mailchimp_emulator import archives, batches
from mailchimp_emulator.routes import Emulator


def routes(emulator: Emulator) -> list[Route]:
    async def download(request: Request) -> Response:
        return _download(emulator, request)

    return [Route("/{name}", download, methods=["GET"])]


def _download(emulator: Emulator, request: Request) -> Response:
    """The archive, or an error in XML as storage services write it."""
    state = emulator.state
    name = request.path_params["name"]
    expires = request.query_params.get("Expires", "")
    given = request.query_params.get("Signature", "")
    if "authorization" in request.headers:
        return _error(400, "InvalidArgument", "Only one auth mechanism allowed.")
    if not archives.is_signed(state.archive_key, request.method, name, expires, given):
        message = "The request signature we calculated does not match the signature you provided."
        return _error(403, "SignatureDoesNotMatch", message)
    if int(expires) <= state.clock.now():
        return _error(403, "AccessDenied", "Request has expired")
    for account in state.accounts:
        for batch in batches.kept(account, state.clock.now()):
            if batch.archive and archives.file_name(batch.id) == name:
                return Response(batch.archive, media_type="application/x-gzip")
    return _error(404, "NoSuchKey", "The specified key does not exist.")


def _error(status: int, code: str, message: str) -> Response:
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(document, status, media_type="application/xml")
