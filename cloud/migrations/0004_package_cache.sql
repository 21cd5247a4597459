-- What a site's package cache is to do, what came of it, and which relays may
-- give each other files.

-- When files are fetched ahead and how much of the line that may take; empty
-- leaves it to the relay.
ALTER TABLE site_configs
    ADD COLUMN cache_from_min integer CHECK (cache_from_min BETWEEN 0 AND 1439),
    ADD COLUMN cache_until_min integer CHECK (cache_until_min BETWEEN 0 AND 1439),
    ADD COLUMN cache_bytes_per_s bigint CHECK (cache_bytes_per_s >= 0),
    ADD CHECK ((cache_from_min IS NULL) = (cache_until_min IS NULL)),
    ADD CHECK ((cache_from_min IS NULL) = (cache_bytes_per_s IS NULL));

-- What the relay says is in force, and where its sisters reach it.
ALTER TABLE relays
    ADD COLUMN cache_policy jsonb,
    ADD COLUMN sister_addresses text[] NOT NULL DEFAULT '{}';

-- Files to be fetched ahead, and how they fare.
CREATE TABLE cache_ahead (
    site_id          uuid NOT NULL REFERENCES sites,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    sha256           bytea NOT NULL CHECK (length(sha256) = 32),
    place            integer NOT NULL,
    url              text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    size             bigint NOT NULL CHECK (size > 0),
    keep_until       timestamptz NOT NULL,
    state            text NOT NULL DEFAULT 'waiting'
                     CHECK (state IN ('waiting', 'ready', 'refused', 'failed')),
    reason           text NOT NULL DEFAULT '',
    state_at         timestamptz,
    PRIMARY KEY (site_id, sha256)
);
SELECT protect('cache_ahead');

-- What the cache saved, by day (UTC) and repository.
CREATE TABLE cache_savings (
    site_id          uuid NOT NULL REFERENCES sites,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    day              date NOT NULL,
    repository       text NOT NULL CHECK (length(repository) BETWEEN 1 AND 255),
    served           bigint NOT NULL CHECK (served >= 0),
    fetched          bigint NOT NULL CHECK (fetched >= 0),
    hits             bigint NOT NULL CHECK (hits >= 0),
    misses           bigint NOT NULL CHECK (misses >= 0),
    PRIMARY KEY (site_id, day, repository)
);
SELECT protect('cache_savings');

GRANT SELECT, INSERT, UPDATE, DELETE ON cache_ahead, cache_savings TO unifyit_app;

-- The other relays of a relay's organization, those with addresses first. A
-- relay's own transactions see its site only; more than this they never learn.
CREATE FUNCTION sister_relays(asking uuid, most integer) RETURNS TABLE (
    id uuid, peer_id text, addresses text[]
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT r.id, r.peer_id, r.sister_addresses
    FROM relays me JOIN relays r ON r.organization_id = me.organization_id AND r.id <> me.id
    WHERE me.id = asking AND me.revoked_at IS NULL AND r.revoked_at IS NULL
        AND (app_platform() OR (me.partner_id = app_partner()
            AND (app_organization() IS NULL OR me.organization_id = app_organization())
            AND (app_site() IS NULL OR me.site_id = app_site())))
    ORDER BY cardinality(r.sister_addresses) = 0, r.id LIMIT most
$$;
GRANT SELECT (sister_addresses) ON relays TO unifyit_definer;
GRANT CREATE ON SCHEMA public TO unifyit_definer;
ALTER FUNCTION sister_relays(uuid, integer) OWNER TO unifyit_definer;
REVOKE CREATE ON SCHEMA public FROM unifyit_definer;
REVOKE ALL ON FUNCTION sister_relays FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sister_relays TO unifyit_app;
