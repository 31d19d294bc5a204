"""Consent follows the ledger, whatever writes it; references stay inside a tenant."""

from django.db import migrations

STATE_FOLLOWS = """
CREATE FUNCTION nexpura_consent_follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE customers_customer AS c SET consent_state = newest.state
    FROM (
        SELECT DISTINCT ON (e.customer_id) e.tenant_id, e.customer_id, e.state
        FROM customers_consentevent AS e
        WHERE (e.tenant_id, e.customer_id) IN (SELECT tenant_id, customer_id FROM added)
        ORDER BY e.customer_id, e.effective_at DESC, (e.state = 'withdrawn') DESC, e.id DESC
    ) AS newest
    WHERE c.tenant_id = newest.tenant_id AND c.id = newest.customer_id AND c.consent_state <> newest.state;
    RETURN NULL;
END $$;
CREATE TRIGGER consent_follows_the_ledger AFTER INSERT ON customers_consentevent
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION nexpura_consent_follows();
"""

SAME_TENANT = """
ALTER TABLE customers_consentevent
    ADD CONSTRAINT consent_customer_same_tenant FOREIGN KEY (tenant_id, customer_id)
        REFERENCES customers_customer (tenant_id, id),
    ADD CONSTRAINT consent_wording_same_tenant FOREIGN KEY (tenant_id, wording_id)
        REFERENCES customers_consentwording (tenant_id, id);
ALTER TABLE customers_visit
    ADD CONSTRAINT visit_customer_same_tenant FOREIGN KEY (tenant_id, customer_id)
        REFERENCES customers_customer (tenant_id, id),
    ADD CONSTRAINT visit_user_same_tenant FOREIGN KEY (tenant_id, user_id)
        REFERENCES tenants_tenantuser (tenant_id, id);
"""


class Migration(migrations.Migration):
    dependencies = [("customers", "0001_initial")]
    operations = [
        migrations.RunSQL(
            STATE_FOLLOWS,
            "DROP TRIGGER consent_follows_the_ledger ON customers_consentevent; DROP FUNCTION nexpura_consent_follows();",
        ),
        migrations.RunSQL(
            SAME_TENANT,
            "ALTER TABLE customers_consentevent DROP CONSTRAINT consent_customer_same_tenant, "
            "DROP CONSTRAINT consent_wording_same_tenant; "
            "ALTER TABLE customers_visit DROP CONSTRAINT visit_customer_same_tenant, DROP CONSTRAINT visit_user_same_tenant;",
        ),
    ]
