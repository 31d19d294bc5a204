"""Mailchimp's problem documents, each made in one place with its exact words.

Texts are documented or recorded unless COVERAGE.md lists them as our choice.
"""

from collections.abc import Callable, Mapping, Sequence

TYPE = "https://mailchimp.com/developer/marketing/docs/errors/"
FieldErrors = Sequence[tuple[str, str]]

SEE_ERRORS = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."
MERGE_FIELDS_INVALID = "Your merge fields were invalid."


class Problem(Exception):
    """A refusal, raised where it is noticed and sent as `application/problem+json`."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        errors: FieldErrors = (),
        typed: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.typed = typed
        self.headers = headers or {}

    def document(self, request_id: str) -> dict[str, object]:
        """The body in Mailchimp's key order; some refusals have no `type`, and only some have `errors`."""
        body: dict[str, object] = {"type": TYPE} if self.typed else {}
        body |= {"title": self.title, "status": self.status, "detail": self.detail, "instance": request_id}
        if self.errors:
            body["errors"] = [{"field": field, "message": message} for field, message in self.errors]
        return body


def named(name: str) -> Problem:
    """The error a caller asks for by its name in the error glossary; for a name that is not in it, Bad Request."""
    return _NAMED.get(name, bad_request)()


def bad_request() -> Problem:
    return Problem(400, "Bad Request", "Your request could not be processed.")


def json_parse_exception() -> Problem:
    return Problem(400, "JSON Parse Exception", "We encountered an unspecified JSON parsing error.")


def invalid_action() -> Problem:
    return Problem(400, "Invalid Action", "The action requested was not valid for this resource.")


def invalid_resource(detail: str, errors: FieldErrors = ()) -> Problem:
    return Problem(400, "Invalid Resource", detail, errors=errors)


def not_validated(*errors: tuple[str, str]) -> Problem:
    return invalid_resource(SEE_ERRORS, errors)


def required(*fields: str, place: str = "") -> tuple[str, str]:
    """The entry of `errors` for properties that were left out of the object at this place."""
    return place, f"Required fields were not provided: {', '.join(fields)}"


def merge_fields_invalid(errors: FieldErrors) -> Problem:
    return invalid_resource(MERGE_FIELDS_INVALID, errors)


def tag_taken(tag: str) -> Problem:
    return invalid_resource(f'A Merge Field with the tag "{tag}" already exists for this list.')


def too_many_merge_fields(limit: int) -> Problem:
    detail = f"This audience already has {limit} merge fields, the most its plan allows."
    return Problem(400, "Merge Max Limit Exceeded", detail)


def choices_are_fixed() -> Problem:
    return invalid_resource("This resource has not yet implemented array assignment for options.choices.")


def invalid_interest(interest: str) -> Problem:
    return invalid_resource(f"Invalid interest ID: '{interest}'.")


def unknown_permission(permission: str) -> Problem:
    return invalid_resource(f"Invalid marketing permission ID: '{permission}'.")


def invalid_address() -> Problem:
    return invalid_resource("Please provide a valid email address.")


def fake_address(address: str) -> Problem:
    return invalid_resource(f"{address} looks fake or invalid, please enter a real email address.")


def throttled_address(address: str) -> Problem:
    return invalid_resource(
        f"{address} has signed up to a lot of lists very recently; we're not allowing more signups for now"
    )


def address_taken(address: str) -> Problem:
    """PUT that would rename a member onto another one; the status named is always this word, as recorded."""
    message = f'"{address}" is already in this list with a status of "subscribed".'
    return not_validated(("email address", message))


def member_exists(address: str) -> Problem:
    detail = f"{address} is already a list member. Use PUT to insert or update list members."
    return Problem(400, "Member Exists", detail, typed=False)


def compliance_state(address: str) -> Problem:
    detail = (
        f"{address} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed."
    )
    return Problem(400, "Member In Compliance State", detail, typed=False)


def forgotten_address(address: str) -> Problem:
    detail = (
        f"{address} was permanently deleted and cannot be re-imported."
        " The contact must re-subscribe to get back on the list."
    )
    return Problem(400, "Forgotten Email Not Subscribed", detail, typed=False)


def key_missing() -> Problem:
    return Problem(401, "API Key Missing", "Your request did not include an API key.")


def key_invalid() -> Problem:
    detail = "Your API key may be invalid, or you've attempted to access the wrong datacenter."
    return Problem(401, "API Key Invalid", detail)


def keys_disagree() -> Problem:
    detail = (
        "The API key included in the query parameters is not consistent with the Authorization header."
        " Please provide authorization using a single method."
    )
    return Problem(401, "API Key Invalid", detail)


def user_disabled() -> Problem:
    return Problem(403, "User Disabled", "This account has been deactivated.")


def forbidden() -> Problem:
    return Problem(403, "Forbidden", "You are not permitted to access this resource.")


def action_not_permitted() -> Problem:
    return Problem(403, "User action not permitted", "User does not have access to the requested operation")


def wrong_datacenter() -> Problem:
    return Problem(403, "WrongDatacenter", "The API key provided is linked to a different data center.")


def not_found() -> Problem:
    return Problem(404, "Resource Not Found", "The requested resource could not be found.")


def invalid_path() -> Problem:
    return Problem(404, "Resource Not Found", "Invalid path")


def method_not_allowed(allowed: Sequence[str]) -> Problem:
    detail = (
        "The requested method and resource are not compatible."
        " See the Allow header for this resource's available methods."
    )
    return Problem(405, "Method Not Allowed", detail, headers={"Allow": ", ".join(allowed)})


def cannot_be_archived() -> Problem:
    detail = "This list member cannot be removed. Can not archive a contact that is bounced, pending or archived"
    return Problem(405, "Method Not Allowed", detail, headers={"Allow": "GET, PUT"})


def nested_too_deeply() -> Problem:
    return Problem(414, "Resource Nesting Too Deep", "The sub-resource requested is nested too deeply.")


def request_timeout() -> Problem:
    return Problem(408, "Request Timeout", "Your request was not complete in time.")


def override_needs_post() -> Problem:
    detail = "You can only use the X-HTTP-Method-Override header with the POST method."
    return Problem(422, "InvalidMethodOverride", detail)


def fields_invalid() -> Problem:
    return Problem(422, "RequestedFieldsInvalid", "The fields requested from this resource are invalid.")


def too_many_requests() -> Problem:
    detail = "You have exceeded the limit of 10 simultaneous connections."
    return Problem(429, "Too Many Requests", detail)


def too_many_batches() -> Problem:
    detail = "You have more than 500 pending webhooks. Please wait for some to complete before adding any more batches."
    return Problem(429, "Too Many Requests", detail)


def internal_error() -> Problem:
    detail = "A deep internal error has occurred during the processing of your request. Please contact support."
    return Problem(500, "InternalServerError", detail)


def compliance_related() -> Problem:
    return Problem(503, "ComplianceRelated", "This method has been disabled.")


_NAMED: dict[str, Callable[[], Problem]] = {
    "BadRequest": bad_request,
    "InvalidAction": invalid_action,
    "InvalidResource": not_validated,
    "JSONParseError": json_parse_exception,
    "APIKeyMissing": key_missing,
    "APIKeyInvalid": key_invalid,
    "Forbidden": forbidden,
    "UserDisabled": user_disabled,
    "WrongDatacenter": wrong_datacenter,
    "ResourceNotFound": not_found,
    "MethodNotAllowed": lambda: method_not_allowed(()),
    "ResourceNestingTooDeep": nested_too_deeply,
    "InvalidMethodOverride": override_needs_post,
    "RequestedFieldsInvalid": fields_invalid,
    "TooManyRequests": too_many_requests,
    "InternalServerError": internal_error,
    "ComplianceRelated": compliance_related,
}
