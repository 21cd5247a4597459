-- Without `pg_temp` at its end, a search path begins with the caller's temporary
-- tables: a temporary `audit_heads` would then stand before the true one, and
-- whoever speaks as the service's role could forge the audit chain. `migrate` also
-- takes the right to temporary tables from everybody.
DO $$
DECLARE
    found regprocedure;
BEGIN
    FOR found IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE prosecdef AND pronamespace = 'public'::regnamespace
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, public, pg_temp', found);
    END LOOP;
END $$;

-- The sisters of a relay are looked up by their organization.
CREATE INDEX relays_by_organization ON relays (organization_id, id) WHERE revoked_at IS NULL;
