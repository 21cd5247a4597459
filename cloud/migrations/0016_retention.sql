-- How long a partner's data are kept, measurements that grow coarser with age, and
-- audit chains that may be cut at their old end without being broken.

-- One row a partner that differs from what is built in. People below a partner
-- read it, only those at the partner change it.
CREATE TABLE retention (
    partner_id    uuid PRIMARY KEY REFERENCES partners,
    tasks_days    integer NOT NULL CHECK (tasks_days BETWEEN 7 AND 3660),
    output_days   integer NOT NULL CHECK (output_days BETWEEN 1 AND 3660),
    audit_days    integer NOT NULL CHECK (audit_days BETWEEN 180 AND 3660),
    minute_days   integer NOT NULL CHECK (minute_days BETWEEN 2 AND 400),
    quarter_days  integer NOT NULL CHECK (quarter_days BETWEEN 2 AND 3660),
    hour_days     integer NOT NULL CHECK (hour_days BETWEEN 2 AND 3660),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (output_days <= tasks_days),
    CHECK (minute_days <= quarter_days AND quarter_days <= hour_days)
);
ALTER TABLE retention ENABLE ROW LEVEL SECURITY;
ALTER TABLE retention FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON retention TO unifyit_app
    USING ((SELECT app_platform()) OR partner_id = (SELECT app_partner()))
    WITH CHECK ((SELECT app_platform()) OR (partner_id = (SELECT app_partner())
        AND (SELECT app_organization()) IS NULL AND (SELECT app_site()) IS NULL));
CREATE POLICY definer ON retention FOR SELECT TO unifyit_definer USING (true);
GRANT SELECT, INSERT, UPDATE ON retention TO unifyit_app;
GRANT SELECT ON retention TO unifyit_definer;

-- Minutes a row of a block: one, a quarter of an hour, an hour.
ALTER TABLE metric_blocks ADD COLUMN step smallint NOT NULL DEFAULT 1 CHECK (step IN (1, 15, 60));
ALTER TABLE metric_blocks DROP CONSTRAINT metric_blocks_pkey,
    ADD PRIMARY KEY (device_id, first_minute, series_hash, step);
CREATE INDEX metric_blocks_by_step ON metric_blocks (step, last_minute);
DROP INDEX metric_blocks_by_minute;

-- A gap that goes on is one row that grows.
GRANT UPDATE (records, from_at, to_at, reason, at) ON gaps TO unifyit_app;
CREATE INDEX gaps_by_time ON gaps (to_at);
-- When each lane's present epoch began, and when the lane had last moved before
-- that: what a restored database lacks begins there.
ALTER TABLE lane_cursors ADD COLUMN epoch_at timestamptz, ADD COLUMN before_at timestamptz;

-- Since when a task's output is no longer kept.
ALTER TABLE tasks ADD COLUMN output_removed_at timestamptz;
CREATE INDEX tasks_by_age ON tasks (created_at) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_with_output ON tasks (created_at)
    WHERE finished_at IS NOT NULL AND output_removed_at IS NULL;
CREATE INDEX commands_without_task ON commands (expires_at) WHERE task_id IS NULL;
CREATE INDEX devices_revoked ON devices (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX install_tokens_by_expiry ON install_tokens (expires_at);
GRANT DELETE ON install_tokens TO unifyit_app;

-- Where a chain was cut: its last entry that is gone. The first one that is kept
-- follows from it.
CREATE TABLE audit_cuts (
    chain_id         uuid PRIMARY KEY,
    partner_id       uuid,
    organization_id  uuid,
    seq              bigint NOT NULL,
    hash             bytea NOT NULL,
    -- Entries gone, all in all, and how late the last of them was.
    removed          bigint NOT NULL,
    before           timestamptz NOT NULL,
    cut_at           timestamptz NOT NULL DEFAULT now()
);
SELECT protect('audit_cuts', site_column => NULL);
CREATE POLICY definer ON audit_cuts TO unifyit_definer USING (true) WITH CHECK (true);
CREATE POLICY definer ON audit_log TO unifyit_definer USING (true);
GRANT SELECT ON audit_cuts TO unifyit_app;
GRANT SELECT, INSERT, UPDATE ON audit_cuts TO unifyit_definer;
GRANT SELECT, DELETE ON audit_log TO unifyit_definer;

-- Takes entries from the old ends of chains, at most `most` of them, and says what
-- it cut. The service's role may not delete an entry by itself: this takes only a
-- chain's beginning, only what is older than its partner's setting, and writes the
-- place of the cut. `usual` days hold where a partner has set none; never less
-- than half a year.
CREATE FUNCTION audit_cut(usual integer, most integer) RETURNS TABLE (
    chain uuid, partner uuid, organization uuid, through bigint, gone bigint, until timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    head record;
    horizon timestamptz;
    taken bigint := 0;
BEGIN
    FOR head IN SELECT h.chain_id, f.partner_id, f.organization_id, f.at FROM audit_heads h
        CROSS JOIN LATERAL (SELECT a.partner_id, a.organization_id, a.at FROM audit_log a
            WHERE a.chain_id = h.chain_id ORDER BY a.seq LIMIT 1) f
        WHERE f.at < now() - interval '180 days'
    LOOP
        EXIT WHEN taken >= most;
        horizon := now() - make_interval(days => greatest(180, coalesce(
            (SELECT r.audit_days FROM retention r WHERE r.partner_id = head.partner_id), usual)));
        -- A week at a time: each cut is an entry too.
        CONTINUE WHEN head.at >= horizon - interval '7 days';
        chain := head.chain_id;
        partner := head.partner_id;
        organization := head.organization_id;
        -- The run of old entries at the beginning: a later one that claims to be old
        -- stays until all before it may go.
        SELECT max(old.seq), count(*), max(old.at) INTO through, gone, until FROM (
            SELECT r.seq, r.at, bool_and(r.at < horizon) OVER (ORDER BY r.seq) AS leads
            FROM (SELECT a.seq, a.at FROM audit_log a WHERE a.chain_id = chain
                ORDER BY a.seq LIMIT most - taken) r) old WHERE old.leads;
        INSERT INTO audit_cuts AS c (chain_id, partner_id, organization_id, seq, hash, removed, before)
            SELECT chain, partner, organization, a.seq, a.hash, gone, until
            FROM audit_log a WHERE a.chain_id = chain AND a.seq = through
            ON CONFLICT (chain_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
                removed = c.removed + excluded.removed, before = greatest(c.before, excluded.before),
                cut_at = now();
        DELETE FROM audit_log a WHERE a.chain_id = chain AND a.seq <= through;
        taken := taken + gone;
        RETURN NEXT;
    END LOOP;
END $$;
GRANT CREATE ON SCHEMA public TO unifyit_definer;
ALTER FUNCTION audit_cut(integer, integer) OWNER TO unifyit_definer;
REVOKE CREATE ON SCHEMA public FROM unifyit_definer;
REVOKE ALL ON FUNCTION audit_cut FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_cut TO unifyit_app;
