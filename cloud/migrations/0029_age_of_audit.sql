-- A relay dates what it tells for the audit log. An entry is as old as that, and not
-- older than when it was written, which its id says: one that a wrong clock dates
-- into the distant past is kept as long as its neighbours.
CREATE FUNCTION audit_age(id uuid, at timestamptz) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp
    AS $$ SELECT CASE WHEN substr(id::text, 15, 1) <> '7' THEN at ELSE greatest(at,
        to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)) END $$;
REVOKE ALL ON FUNCTION audit_age FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_age TO unifyit_definer;

-- As in 0016_retention.sql, with that age, and one at a time: of two that take the
-- same entries both would count them.
CREATE OR REPLACE FUNCTION audit_cut(usual integer, most integer) RETURNS TABLE (
    chain uuid, partner uuid, organization uuid, through bigint, gone bigint, until timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    head record;
    horizon timestamptz;
    taken bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('audit_cut', 0)) THEN
        RETURN;
    END IF;
    FOR head IN SELECT h.chain_id, f.partner_id, f.organization_id, audit_age(f.id, f.at) AS at
        FROM audit_heads h
        CROSS JOIN LATERAL (SELECT a.partner_id, a.organization_id, a.id, a.at FROM audit_log a
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
            FROM (SELECT a.seq, audit_age(a.id, a.at) AS at FROM audit_log a WHERE a.chain_id = chain
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
