"""Erasures with their receipts, and the one way past the append-only ledger and audit trail."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

EVIDENCE = """
CREATE FUNCTION nexpura_without_person(told jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT
RETURN coalesce(
    (SELECT jsonb_object_agg(name, CASE
        WHEN name IN ('consent_state', 'source', 'claimed_at', 'wording', 'customer_id', 'amount',
                      'again_after_erasure_at') OR value = 'null' THEN value
        ELSE '"(erased)"' END)
     FROM jsonb_each(told) AS t (name, value)), '{}');

-- The one way past the append-only ledger and audit trail: for one customer, and not without a receipt.
CREATE FUNCTION nexpura_erase_evidence(of_tenant bigint, of_customer bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM customers_customer WHERE tenant_id = of_tenant AND id = of_customer)
       OR NOT EXISTS (SELECT 1 FROM sync_erasure WHERE tenant_id = of_tenant AND customer_id = of_customer) THEN
        RAISE EXCEPTION 'customer % is not being erased', of_customer USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE tenants_auditevent AS e
    SET before = nexpura_without_person(e.before), after = nexpura_without_person(e.after)
    WHERE e.tenant_id = of_tenant
      AND ((e.subject_kind = 'customer' AND (e.subject_id = of_customer OR e.subject_id IN (
               SELECT f.former_id FROM customers_formercustomer AS f
               WHERE f.tenant_id = of_tenant AND f.customer_id = of_customer)))
           OR (e.subject_kind = 'visit' AND e.subject_id IN (
               SELECT v.id FROM customers_visit AS v WHERE v.tenant_id = of_tenant AND v.customer_id = of_customer)));
    DELETE FROM customers_consentevent WHERE tenant_id = of_tenant AND customer_id = of_customer;
END $$;
REVOKE ALL ON FUNCTION nexpura_erase_evidence(bigint, bigint) FROM PUBLIC;
"""

SAME_TENANT = """
ALTER TABLE sync_erasure ADD CONSTRAINT erasure_audience_same_tenant FOREIGN KEY (tenant_id, audience_id)
    REFERENCES sync_knownaudience (tenant_id, id);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0003_consent_that_survives"),
        ("tenants", "0002_erasure"),
        ("customers", "0003_two_records_one_person"),
    ]

    operations = [
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField()),
                ("customer_id", models.BigIntegerField()),
                (
                    "choice",
                    models.CharField(
                        choices=[
                            ("keep", "Keep the member as it is"),
                            ("unsubscribe", "Unsubscribe the member"),
                            ("delete", "Delete the member permanently"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Not done yet"),
                            ("done", "Done"),
                            ("not_needed", "Nothing to do"),
                            ("failed", "Needs a person"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "outcomes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=20), default=list, size=None
                    ),
                ),
                ("opt_outs", models.JSONField(default=list)),
                ("requested_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("requested_by", models.CharField(max_length=254)),
                ("done_at", models.DateTimeField(null=True)),
                ("sealed", models.BinaryField(null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_try_at", models.DateTimeField(null=True)),
                ("after_run", models.BigIntegerField(null=True)),
                ("problem", models.JSONField(null=True)),
                ("consent", models.JSONField(default=list)),
                (
                    "audience",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="sync.knownaudience",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="erasures",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ["pending", "failed"])),
                        fields=["tenant", "id"],
                        name="erasure_open",
                    ),
                    models.Index(condition=models.Q(("state", "pending")), fields=["next_try_at"], name="erasure_due"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "number"), name="erasure_number_once"),
                    models.UniqueConstraint(fields=("tenant", "id"), name="erasure_of_tenant"),
                    models.UniqueConstraint(fields=("tenant", "customer_id"), name="customer_erased_once"),
                    models.CheckConstraint(
                        condition=models.Q(("choice__in", ["keep", "unsubscribe", "delete"])),
                        name="erasure_choice_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["pending", "done", "not_needed", "failed"])),
                        name="erasure_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["pending", "failed"]), ("sealed__isnull", True), _connector="OR"
                        ),
                        name="erasure_done_holds_no_address",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            EVIDENCE,
            "DROP FUNCTION nexpura_erase_evidence(bigint, bigint); DROP FUNCTION nexpura_without_person(jsonb);",
        ),
        migrations.RunSQL(SAME_TENANT, "ALTER TABLE sync_erasure DROP CONSTRAINT erasure_audience_same_tenant;"),
    ]
