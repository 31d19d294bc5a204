"""Changes of the book mark their addresses, whatever makes them; counts follow the standings."""

from django.db import migrations

MARKS = """
CREATE SEQUENCE sync_mark_version AS bigint;

CREATE FUNCTION nexpura_mark_customers() RETURNS trigger LANGUAGE plpgsql AS $$
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
              WHERE (o.address, o.first_name, o.last_name, o.phone, o.consent_state, o.tags)
                    IS DISTINCT FROM (n.address, n.first_name, n.last_name, n.phone, n.consent_state, n.tags)
              ORDER BY 1, 2) AS a
        ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now();
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER mark_added_customers AFTER INSERT ON customers_customer
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION nexpura_mark_customers();
CREATE TRIGGER mark_changed_customers AFTER UPDATE ON customers_customer
    REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION nexpura_mark_customers();
CREATE TRIGGER mark_deleted_customers AFTER DELETE ON customers_customer
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION nexpura_mark_customers();

CREATE FUNCTION nexpura_mark_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sync_dirtyaddress (tenant_id, address, version)
    SELECT a.tenant_id, a.address, nextval('sync_mark_version')
    FROM (SELECT DISTINCT both_sides.tenant_id, both_sides.address
          FROM added AS e JOIN customers_customer AS c ON c.tenant_id = e.tenant_id AND c.id = e.customer_id
          CROSS JOIN LATERAL (VALUES (e.tenant_id, e.address), (c.tenant_id, c.address))
              AS both_sides (tenant_id, address)
          JOIN integrations_integration AS i
            ON i.tenant_id = both_sides.tenant_id AND i.kind = 'mailchimp' AND i.status <> 'disconnected'
          ORDER BY 1, 2) AS a
    ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now();
    RETURN NULL;
END $$;
CREATE TRIGGER mark_consent AFTER INSERT ON customers_consentevent
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION nexpura_mark_consent();
"""

COUNTS = """
CREATE FUNCTION nexpura_count_standings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO sync_standingcount AS s (tenant_id, bucket, reason, addresses, customers)
        SELECT tenant_id, bucket, reason, -count(*), -sum(customers) FROM gone GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (tenant_id, bucket, reason) DO UPDATE
            SET addresses = s.addresses + excluded.addresses, customers = s.customers + excluded.customers;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO sync_standingcount AS s (tenant_id, bucket, reason, addresses, customers)
        SELECT tenant_id, bucket, reason, count(*), sum(customers) FROM added GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (tenant_id, bucket, reason) DO UPDATE
            SET addresses = s.addresses + excluded.addresses, customers = s.customers + excluded.customers;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_added_standings AFTER INSERT ON sync_addressstanding
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION nexpura_count_standings();
CREATE TRIGGER count_changed_standings AFTER UPDATE ON sync_addressstanding
    REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION nexpura_count_standings();
CREATE TRIGGER count_deleted_standings AFTER DELETE ON sync_addressstanding
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION nexpura_count_standings();
"""

SAME_TENANT = """
ALTER TABLE sync_knownmember ADD CONSTRAINT known_member_same_tenant FOREIGN KEY (tenant_id, audience_id)
    REFERENCES sync_knownaudience (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE sync_syncrun ADD CONSTRAINT run_audience_same_tenant FOREIGN KEY (tenant_id, audience_id)
    REFERENCES sync_knownaudience (tenant_id, id);
ALTER TABLE sync_memberresult ADD CONSTRAINT result_run_same_tenant FOREIGN KEY (tenant_id, run_id)
    REFERENCES sync_syncrun (tenant_id, id) ON DELETE CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0001_initial"),
        ("customers", "0002_consent_follows_the_ledger"),
        ("integrations", "0001_initial"),
    ]
    operations = [
        migrations.RunSQL(MARKS, migrations.RunSQL.noop),
        migrations.RunSQL(COUNTS, migrations.RunSQL.noop),
        migrations.RunSQL(SAME_TENANT, migrations.RunSQL.noop),
    ]
