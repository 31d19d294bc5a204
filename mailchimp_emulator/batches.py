"""GET and POST /batches, GET and DELETE /batches/{batch_id}: handing in many calls at once, and asking after them."""

import secrets
from typing import Any

from mailchimp_emulator import archives, asked, batch_runs, bodies, problems, schema
from mailchimp_emulator.handlers import Call, Reply
from mailchimp_emulator.schema import Check, Errors
from mailchimp_emulator.state import Account, Batch

MOST_UNFINISHED = 500
KEPT = 7 * 24 * 3600  # seconds since the batch was handed in
ADDRESS_LASTS = 600


def kept(account: Account, now: int) -> list[Batch]:
    """The account's batches of the last seven days; older ones are forgotten with their results."""
    account.batches = {key: batch for key, batch in account.batches.items() if now - batch.submitted_at <= KEPT}
    return list(account.batches.values())


def get_batches(call: Call) -> Reply:
    """In the order in which they were handed in."""
    account = call.user.account
    items = _kept(call)
    body = {
        "batches": [_told(call, batch) for batch in asked.page(call.query).of(items)],
        "total_items": len(items),
        "_links": bodies.batch_collection_links(account),
    }
    return Reply(asked.only_fields(body, call.query), "Batches/Collection")


def post_batches(call: Call) -> Reply:
    """Take the operations in and answer at once; they are carried out later, in the background."""
    operations = _operations(call.body)
    account = call.user.account
    if sum(1 for batch in _kept(call) if batch.status != "finished") >= MOST_UNFINISHED:
        raise problems.too_many_batches()
    batch = Batch(secrets.token_hex(5), operations, call.writer.now())
    account.batches[batch.id] = batch
    call.state.background.start(batch_runs.run(batch, account.batch_turn, call.state.clock, call.operate))
    return _reply(call, batch)


def get_batch(call: Call) -> Reply:
    """How far the batch is; once it is finished, each time with a fresh address of its results."""
    return _reply(call, _batch(call))


def delete_batch(call: Call) -> Reply:
    """Stop the batch after the operation under way, and forget it with its results."""
    batch = _batch(call)
    batch.deleted = True
    del call.user.account.batches[batch.id]
    return Reply(None)


def _kept(call: Call) -> list[Batch]:
    return kept(call.user.account, call.state.clock.now())


def _batch(call: Call) -> Batch:
    """The batch in the path; that of another account is as unknown as a deleted one."""
    _kept(call)
    batch = call.user.account.batches.get(call.keys["batch_id"])
    if batch is None:
        raise problems.not_found()
    return batch


def _reply(call: Call, batch: Batch) -> Reply:
    return Reply(asked.only_fields(_told(call, batch), call.query), "Batches/Instance")


def _told(call: Call, batch: Batch) -> dict[str, Any]:
    address = ""
    if batch.status == "finished":
        expires = call.state.clock.now() + ADDRESS_LASTS
        address = archives.address(call.state.archive_key, call.server_url, batch.id, expires)
    return bodies.batch(call.user.account, batch, address)


def _operations(body: Any) -> list[dict[str, Any]]:
    """The operations of a batch; one that is not of the right shape refuses them all."""
    checks = {"operations": schema.array_of(_operation)}
    operations: list[dict[str, Any]] = schema.checked(body, checks, needs=("operations",))["operations"]
    if not operations:
        raise problems.not_validated(("operations", "Schema describes array with at least 1 items, 0 found instead"))
    return operations


def _operation(place: str, sent: Any) -> Errors:
    wrong = schema.an_object_there(place, sent)
    return wrong or schema.errors_in(sent, _OPERATION, needs=("method", "path"), place=f"{place}.")


def _a_body(name: str, value: Any) -> Errors:
    """A string of JSON. An object in its place is let in and fails when the operation runs, as documented."""
    return [] if isinstance(value, dict) else schema.a_string(name, value)


_OPERATION: dict[str, Check] = {
    "method": schema.one_of("GET", "POST", "PUT", "PATCH", "DELETE"),
    "path": schema.a_string,
    "operation_id": schema.a_string,
    "params": schema.an_object_there,
    "body": _a_body,
    "headers": schema.an_object_there,
}
