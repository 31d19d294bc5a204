"""Addresses that several customers hold: listed for the shop to clean up (B4)."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection


def notice(tenant_id: int, addresses: Sequence[str]) -> None:
    """List those of the addresses that two or more customers hold.

    The triggers on customers do so already, but for customers who were added at the same moment by transactions
    that could not see each other: whoever counts the holders of an address calls this.
    """
    if not addresses:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO customers_sharedaddress (tenant_id, address)
            SELECT %s, a.address FROM unnest(%s::text[]) AS a (address)
            WHERE a.address <> '' AND EXISTS (
                SELECT 1 FROM customers_customer AS c WHERE c.tenant_id = %s AND c.address = a.address OFFSET 1)
            ORDER BY a.address
            ON CONFLICT (tenant_id, address) DO NOTHING
            """,
            [tenant_id, list(addresses), tenant_id],
        )
