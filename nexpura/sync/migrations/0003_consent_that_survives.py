"""What real life does to consent: who a member was made for, moves, renames, tags, an audience's own fields."""

from django.db import migrations, models

MARKS = """
CREATE OR REPLACE FUNCTION nexpura_mark_customers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO sync_dirtyaddress (tenant_id, address, version)
        SELECT a.tenant_id, a.address, nextval('sync_mark_version')
        FROM (SELECT DISTINCT n.tenant_id, n.address FROM added AS n
              JOIN integrations_integration AS i
                ON i.tenant_id = n.tenant_id AND i.kind = 'mailchimp' AND i.status <> 'disconnected'
              ORDER BY 1, 2) AS a
        ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now();
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO sync_dirtyaddress (tenant_id, address, version)
        SELECT a.tenant_id, a.address, nextval('sync_mark_version')
        FROM (SELECT DISTINCT o.tenant_id, o.address FROM gone AS o
              JOIN integrations_integration AS i
                ON i.tenant_id = o.tenant_id AND i.kind = 'mailchimp' AND i.status <> 'disconnected'
              ORDER BY 1, 2) AS a
        ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now();
    ELSE
        INSERT INTO sync_dirtyaddress (tenant_id, address, version)
        SELECT a.tenant_id, a.address, nextval('sync_mark_version')
        FROM (SELECT DISTINCT both_sides.tenant_id, both_sides.address
              FROM gone AS o JOIN added AS n ON n.id = o.id
              CROSS JOIN LATERAL (VALUES (o.tenant_id, o.address), (n.tenant_id, n.address))
                  AS both_sides (tenant_id, address)
              JOIN integrations_integration AS i
                ON i.tenant_id = both_sides.tenant_id AND i.kind = 'mailchimp' AND i.status <> 'disconnected'
              WHERE (o.address, o.first_name, o.last_name, o.phone, o.consent_state, o.tags, o.external_id)
                    IS DISTINCT FROM
                    (n.address, n.first_name, n.last_name, n.phone, n.consent_state, n.tags, n.external_id)
              ORDER BY 1, 2) AS a
        ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now();
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0002_marks_and_counts"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="memberresult",
            name="one_result_per_address",
        ),
        migrations.RemoveField(
            model_name="knownaudience",
            name="merge_tags",
        ),
        migrations.AddField(
            model_name="knownaudience",
            name="merge_fields",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="knownaudience",
            name="permissions",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="knownmember",
            name="asked_for",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="knownmember",
            name="made_for",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="knownmember",
            name="move_refused",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="knownmember",
            name="our_tags",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="knownmember",
            name="renamed_to",
            field=models.TextField(blank=True, db_collation="C"),
        ),
        migrations.AddField(
            model_name="knownmember",
            name="status_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="knownmember",
            name="tags",
            field=models.JSONField(default=list),
        ),
        migrations.AddIndex(
            model_name="knownmember",
            index=models.Index(
                condition=models.Q(
                    models.Q(("contact_id", ""), _negated=True), models.Q(("status", ""), _negated=True)
                ),
                fields=["tenant", "audience", "contact_id"],
                name="known_by_contact",
            ),
        ),
        migrations.AddIndex(
            model_name="knownmember",
            index=models.Index(
                condition=models.Q(("made_for__isnull", False)),
                fields=["tenant", "audience", "made_for"],
                name="known_made_for",
            ),
        ),
        migrations.AddIndex(
            model_name="knownmember",
            index=models.Index(
                condition=models.Q(("renamed_to", ""), _negated=True),
                fields=["tenant", "audience", "address"],
                name="known_renamed",
            ),
        ),
        migrations.AddConstraint(
            model_name="memberresult",
            constraint=models.UniqueConstraint(fields=("tenant", "run", "address", "kind"), name="one_result_per_kind"),
        ),
        migrations.RunSQL(MARKS, migrations.RunSQL.noop),
    ]
