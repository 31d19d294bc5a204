"""Events that go over to another customer mark both addresses; members who left an address are known by contact."""

from django.db import migrations, models

MARKS = """
CREATE FUNCTION nexpura_mark_moved_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sync_dirtyaddress (tenant_id, address, version)
    SELECT a.tenant_id, a.address, nextval('sync_mark_version')
    FROM (SELECT DISTINCT c.tenant_id, c.address
          FROM gone AS o JOIN added AS n ON n.id = o.id AND n.customer_id <> o.customer_id
          CROSS JOIN LATERAL (VALUES (o.customer_id), (n.customer_id)) AS either (customer_id)
          JOIN customers_customer AS c ON c.tenant_id = o.tenant_id AND c.id = either.customer_id
          JOIN integrations_integration AS i
            ON i.tenant_id = o.tenant_id AND i.kind = 'mailchimp' AND i.status <> 'disconnected'
          ORDER BY 1, 2) AS a
    ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now();
    RETURN NULL;
END $$;
CREATE TRIGGER mark_moved_consent AFTER UPDATE ON customers_consentevent
    REFERENCING OLD TABLE AS gone NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION nexpura_mark_moved_consent();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0004_erasure"),
        ("customers", "0003_two_records_one_person"),
    ]

    operations = [
        migrations.RunSQL(MARKS, migrations.RunSQL.noop),
        migrations.RemoveIndex(model_name="knownmember", name="known_by_contact"),
        migrations.AddIndex(
            model_name="knownmember",
            index=models.Index(
                condition=models.Q(("contact_id", ""), _negated=True),
                fields=["tenant", "audience", "contact_id"],
                name="known_by_contact",
            ),
        ),
    ]
