"""Two records of one person can become one: what was recorded follows, and the former record is still found."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

RECORDED_ON = """
CREATE FUNCTION nexpura_recorded_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.recorded_on := coalesce(OLD.recorded_on, OLD.customer_id);
    RETURN NEW;
END $$;
CREATE TRIGGER recorded_on BEFORE UPDATE OF customer_id ON customers_consentevent FOR EACH ROW
    WHEN (OLD.customer_id IS DISTINCT FROM NEW.customer_id) EXECUTE FUNCTION nexpura_recorded_on();
CREATE TRIGGER recorded_on BEFORE UPDATE OF customer_id ON customers_visit FOR EACH ROW
    WHEN (OLD.customer_id IS DISTINCT FROM NEW.customer_id) EXECUTE FUNCTION nexpura_recorded_on();
"""

STATE_FOLLOWS = """
CREATE FUNCTION nexpura_consent_follows_a_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE customers_customer AS c SET consent_state = now_held.state
    FROM (
        SELECT touched.tenant_id, touched.customer_id, coalesce(newest.state, 'never') AS state
        FROM (
            SELECT DISTINCT o.tenant_id, either.customer_id FROM gone AS o JOIN added AS n ON n.id = o.id
            CROSS JOIN LATERAL (VALUES (o.customer_id), (n.customer_id)) AS either (customer_id)
            WHERE o.customer_id <> n.customer_id
        ) AS touched
        LEFT JOIN LATERAL (
            SELECT e.state FROM customers_consentevent AS e
            WHERE e.tenant_id = touched.tenant_id AND e.customer_id = touched.customer_id
            ORDER BY e.effective_at DESC, (e.state = 'withdrawn') DESC, e.id DESC LIMIT 1
        ) AS newest ON true
    ) AS now_held
    WHERE c.tenant_id = now_held.tenant_id AND c.id = now_held.customer_id AND c.consent_state <> now_held.state;
    RETURN NULL;
END $$;
CREATE TRIGGER consent_follows_a_move AFTER UPDATE ON customers_consentevent
    REFERENCING OLD TABLE AS gone NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION nexpura_consent_follows_a_move();
"""

# Two transactions at the same moment, each adding a holder that the other cannot see yet, leave an address unlisted:
# the next sync, which counts the holders of every changed address, lists it. An address that is left is locked first,
# so that its holders are counted by a statement that sees what others did meanwhile.
SHARED = """
CREATE FUNCTION nexpura_list_shared() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tenants bigint[];
    arrived text[];
    deserted text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(n.tenant_id), array_agg(n.address) INTO tenants, arrived
        FROM added AS n WHERE n.address <> '';
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT array_agg(n.tenant_id), array_agg(n.address), array_agg(o.address) INTO tenants, arrived, deserted
        FROM gone AS o JOIN added AS n ON n.id = o.id WHERE n.address <> o.address;
    ELSE
        SELECT array_agg(o.tenant_id), array_agg(o.address) INTO tenants, deserted
        FROM gone AS o WHERE o.address <> '';
    END IF;
    IF arrived IS NOT NULL THEN
        INSERT INTO customers_sharedaddress (tenant_id, address)
        SELECT DISTINCT a.tenant_id, a.address FROM unnest(tenants, arrived) AS a (tenant_id, address)
        CROSS JOIN LATERAL (
            SELECT 1 FROM customers_customer AS c WHERE c.tenant_id = a.tenant_id AND c.address = a.address OFFSET 1
        ) AS second
        WHERE a.address <> '' ORDER BY 1, 2
        ON CONFLICT (tenant_id, address) DO UPDATE SET address = excluded.address;
    END IF;
    IF deserted IS NOT NULL THEN
        PERFORM 1 FROM customers_sharedaddress AS s
        WHERE (s.tenant_id, s.address) IN (SELECT * FROM unnest(tenants, deserted))
        ORDER BY s.tenant_id, s.address FOR UPDATE;
        DELETE FROM customers_sharedaddress AS s
        WHERE (s.tenant_id, s.address) IN (SELECT * FROM unnest(tenants, deserted)) AND NOT EXISTS (
            SELECT 1 FROM customers_customer AS c WHERE c.tenant_id = s.tenant_id AND c.address = s.address OFFSET 1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER list_shared_when_added AFTER INSERT ON customers_customer
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION nexpura_list_shared();
CREATE TRIGGER list_shared_when_changed AFTER UPDATE ON customers_customer
    REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION nexpura_list_shared();
CREATE TRIGGER list_shared_when_deleted AFTER DELETE ON customers_customer
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION nexpura_list_shared();
"""

FILL_SHARED = """
INSERT INTO customers_sharedaddress (tenant_id, address)
SELECT tenant_id, address FROM customers_customer WHERE address <> ''
GROUP BY tenant_id, address HAVING count(*) > 1 ORDER BY tenant_id, address;
"""

SAME_TENANT = """
ALTER TABLE customers_formercustomer ADD CONSTRAINT former_customer_same_tenant FOREIGN KEY (tenant_id, customer_id)
    REFERENCES customers_customer (tenant_id, id) ON DELETE CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("customers", "0002_consent_follows_the_ledger"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="consentevent",
            name="recorded_on",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="visit",
            name="recorded_on",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.CreateModel(
            name="FormerCustomer",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("former_id", models.BigIntegerField()),
                ("external_id", models.CharField(max_length=100, null=True)),
                ("merged_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="former_records",
                        to="customers.customer",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="former_customers",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "former_id"), name="former_id_once"),
                    models.UniqueConstraint(
                        condition=models.Q(("external_id__isnull", False)),
                        fields=("tenant", "external_id"),
                        name="former_external_id_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SharedAddress",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("address", models.TextField(db_collation="C")),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shared_addresses",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "-id"], name="shared_newest")],
                "constraints": [models.UniqueConstraint(fields=("tenant", "address"), name="shared_address_once")],
            },
        ),
        migrations.RunSQL(SAME_TENANT, migrations.RunSQL.noop),
        migrations.RunSQL(RECORDED_ON, migrations.RunSQL.noop),
        migrations.RunSQL(STATE_FOLLOWS, migrations.RunSQL.noop),
        migrations.RunSQL(SHARED, migrations.RunSQL.noop),
        migrations.RunSQL(FILL_SHARED, migrations.RunSQL.noop),
    ]
