-- Rows carry the ids of all their ancestors, and policies believe them. These keys
-- make sure that they are a row's own: no row of one partner can name another's
-- organization or site.
--
-- Left to the policies alone are what is written in bulk under a relay's own site
-- (metric_recent, metric_blocks, events) and the audit log, which outlives its
-- places and must be written whatever happens.

ALTER TABLE organizations ADD UNIQUE (id, partner_id);
ALTER TABLE sites ADD UNIQUE (id, organization_id, partner_id);

DO $$
DECLARE
    name text;
    made record;
BEGIN
    -- Not checked for what is there until below: rows of another partner must not
    -- keep the service from starting.
    FOREACH name IN ARRAY ARRAY['organization_keys', 'sites', 'tasks', 'users', 'memberships',
        'sessions', 'api_keys', 'idempotency_keys'] LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I FOREIGN KEY (organization_id, partner_id) '
            'REFERENCES organizations (id, partner_id) NOT VALID', name, name || '_organization');
    END LOOP;
    FOREACH name IN ARRAY ARRAY['site_configs', 'relays', 'devices', 'presence_log', 'inventory_sections',
        'inventory_entries', 'users', 'memberships', 'sessions', 'api_keys', 'idempotency_keys',
        'install_tokens', 'tasks', 'commands', 'task_targets', 'task_output', 'lane_cursors', 'downlink',
        'series_tables', 'metric_latest', 'gaps', 'cache_ahead', 'cache_savings'] LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I FOREIGN KEY (site_id, organization_id, partner_id) '
            'REFERENCES sites (id, organization_id, partner_id) NOT VALID', name, name || '_site');
    END LOOP;
    FOR made IN SELECT conrelid::regclass AS of, conname FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype = 'f' AND NOT convalidated
    LOOP
        BEGIN
            EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', made.of, made.conname);
        EXCEPTION WHEN foreign_key_violation THEN
            RAISE WARNING 'rows of % name ancestors that are not their own; see constraint %',
                made.of, made.conname;
        END;
    END LOOP;
END $$;
