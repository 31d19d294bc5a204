"""Let the run-time role have PostgreSQL look at tables that have grown: it may not by itself, they are the owner's."""

from django.db import migrations

TAKE_STATISTICS = """
-- A table that has grown to more than three times what PostgreSQL knows of it is planned for as if it were small, and
-- until its daemon comes by a chunk then costs as much as the whole table.
CREATE FUNCTION nexpura_take_statistics() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    grown regclass;
BEGIN
    FOR grown IN
        SELECT c.oid FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace
          AND c.relname IN ('customers_customer', 'customers_consentevent', 'sync_addressstanding',
                            'sync_dirtyaddress', 'sync_knownmember', 'sync_memberresult')
          AND pg_relation_size(c.oid) > 500000
          AND (pg_relation_size(c.oid) > 3 * 8192 * c.relpages::bigint
               OR NOT EXISTS (SELECT 1 FROM pg_stats AS s WHERE s.schemaname = 'public' AND s.tablename = c.relname))
        ORDER BY c.relname
    LOOP
        IF pg_try_advisory_xact_lock(hashtext('nexpura_take_statistics'), grown::oid::int) THEN
            EXECUTE format('ANALYZE %s', grown);
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION nexpura_take_statistics() FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [("sync", "0006_inbound")]

    operations = [migrations.RunSQL(TAKE_STATISTICS, "DROP FUNCTION nexpura_take_statistics()")]
