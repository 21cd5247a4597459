-- Words that lists are searched for are found by an index of all groups of three letters
-- (pg_trgm, which comes with PostgreSQL and needs no superuser). Row policies keep what
-- they do not trust, LIKE among it, from looking into rows before they have: under them
-- such an index is never used. So these functions look, under the very rule of the
-- policies, and the caller's own policies hold for whatever it joins.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
    CREATE INDEX device_lines_by_words ON device_lines USING gin (search gin_trgm_ops)
        WITH (fastupdate = off);
EXCEPTION WHEN undefined_file OR feature_not_supported OR insufficient_privilege
    OR undefined_object THEN
    RAISE WARNING 'pg_trgm cannot be had (%): searches read all lines. It is in the package '
        'postgresql-contrib of most distributions.', SQLERRM;
END $$;

CREATE POLICY definer ON device_lines FOR SELECT TO unifyit_definer USING (true);
GRANT SELECT ON device_lines TO unifyit_definer;

-- What LIKE calls a text that contains `word`.
CREATE FUNCTION containing(word text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '%' || replace(replace(replace(word, '\', '\\'), '%', '\%'), '_', '\_') || '%'
$$;

-- Lines that the caller's scope sees and that contain a word: those of computers that
-- were not put out, or all; at most so many, or all. In no order, or (1, -1) the first or
-- the last by name.
CREATE FUNCTION device_lines_with(word text, also_revoked boolean, by_name int, most bigint)
    RETURNS SETOF device_lines LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 2000
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    pattern text := containing(word);
    platform boolean := app_platform();
    partner uuid := app_partner();
    organization uuid := app_organization();
    site uuid := app_site();
BEGIN
    IF by_name > 0 THEN
        RETURN QUERY SELECT * FROM device_lines l WHERE l.search LIKE pattern
            AND (also_revoked OR NOT l.revoked) AND (platform OR (l.partner_id = partner
                AND (organization IS NULL OR l.organization_id = organization)
                AND (site IS NULL OR l.site_id = site)))
            ORDER BY l.name_key, l.id LIMIT most;
    ELSIF by_name < 0 THEN
        RETURN QUERY SELECT * FROM device_lines l WHERE l.search LIKE pattern
            AND (also_revoked OR NOT l.revoked) AND (platform OR (l.partner_id = partner
                AND (organization IS NULL OR l.organization_id = organization)
                AND (site IS NULL OR l.site_id = site)))
            ORDER BY l.name_key DESC, l.id DESC LIMIT most;
    ELSE
        RETURN QUERY SELECT * FROM device_lines l WHERE l.search LIKE pattern
            AND (also_revoked OR NOT l.revoked) AND (platform OR (l.partner_id = partner
                AND (organization IS NULL OR l.organization_id = organization)
                AND (site IS NULL OR l.site_id = site)))
            LIMIT most;
    END IF;
END $$;

-- How many these are, without making a row of each.
CREATE FUNCTION count_device_lines_with(word text, also_revoked boolean)
    RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    pattern text := containing(word);
    platform boolean := app_platform();
    partner uuid := app_partner();
    organization uuid := app_organization();
    site uuid := app_site();
BEGIN
    RETURN (SELECT count(*) FROM device_lines l WHERE l.search LIKE pattern
        AND (also_revoked OR NOT l.revoked) AND (platform OR (l.partner_id = partner
            AND (organization IS NULL OR l.organization_id = organization)
            AND (site IS NULL OR l.site_id = site))));
END $$;

-- The same by all that facets count by, as `device_tallies` has it of all lines.
CREATE FUNCTION device_tallies_with(word text, also_revoked boolean)
    RETURNS TABLE (partner_id uuid, organization_id uuid, site_id uuid, os_name text,
        os_family text, online boolean, revoked boolean, n bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 2000
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    pattern text := containing(word);
    platform boolean := app_platform();
    partner uuid := app_partner();
    organization uuid := app_organization();
    site uuid := app_site();
BEGIN
    RETURN QUERY SELECT l.partner_id, l.organization_id, l.site_id, l.os_name, l.os_family,
            l.online, l.revoked, count(*)
        FROM device_lines l WHERE l.search LIKE pattern
            AND (also_revoked OR NOT l.revoked) AND (platform OR (l.partner_id = partner
                AND (organization IS NULL OR l.organization_id = organization)
                AND (site IS NULL OR l.site_id = site)))
        GROUP BY 1, 2, 3, 4, 5, 6, 7;
END $$;

GRANT CREATE ON SCHEMA public TO unifyit_definer;
ALTER FUNCTION device_lines_with(text, boolean, int, bigint) OWNER TO unifyit_definer;
ALTER FUNCTION count_device_lines_with(text, boolean) OWNER TO unifyit_definer;
ALTER FUNCTION device_tallies_with(text, boolean) OWNER TO unifyit_definer;
REVOKE CREATE ON SCHEMA public FROM unifyit_definer;
REVOKE ALL ON FUNCTION device_lines_with, count_device_lines_with, device_tallies_with FROM PUBLIC;
GRANT EXECUTE ON FUNCTION device_lines_with, count_device_lines_with, device_tallies_with TO unifyit_app;
ANALYZE device_lines;
