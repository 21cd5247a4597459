-- The whole schema, in one piece, and who may see which row of it (G8).
--
-- Three roles. The owner runs this file. `unifyit_app` is what the service acts
-- as: it owns nothing and every row it reads or writes passes a row policy.
-- `unifyit_definer` owns the few functions that must look before anybody is
-- known (sign-in, sessions, a relay's peer id) and the audit chain; it cannot
-- log in and sees only the columns granted to it here.
--
-- A tenant table carries the ids of all its ancestors, so that a policy only
-- compares columns of its own row with the transaction's settings. No setting,
-- no row. `protect()` writes the policy from the columns that a table has;
-- later migrations call it for each table that they add.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['unifyit_app', 'unifyit_definer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of the same cluster made it meanwhile
            END;
        END IF;
    END LOOP;
    -- Needed to hand functions over; superusers need no membership.
    IF NOT pg_has_role(current_user, 'unifyit_definer', 'MEMBER') THEN
        EXECUTE format('GRANT unifyit_definer TO %I', current_user);
    END IF;
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO unifyit_app, unifyit_definer;

-- The transaction's context, as set by the service's one constructor. After a
-- commit a local setting reads '' and not NULL, hence the NULLIFs.
CREATE FUNCTION app_platform() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('app.scope', true) = 'platform', false) $$;
CREATE FUNCTION app_partner() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.partner_id', true), '')::uuid $$;
CREATE FUNCTION app_organization() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.organization_id', true), '')::uuid $$;
CREATE FUNCTION app_site() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.site_id', true), '')::uuid $$;

-- Forces row security on a table and writes its policy. The column that holds
-- an ancestor's id may be named otherwise (the table's own id).
CREATE FUNCTION protect(
    target regclass,
    partner_column text DEFAULT 'partner_id',
    organization_column text DEFAULT 'organization_id',
    site_column text DEFAULT 'site_id'
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    rule text;
BEGIN
    rule := format('%I = (SELECT app_partner())', partner_column);
    IF organization_column IS NULL THEN
        rule := rule || ' AND (SELECT app_organization()) IS NULL';
    ELSE
        rule := rule || format(
            ' AND ((SELECT app_organization()) IS NULL OR %I = (SELECT app_organization()))',
            organization_column);
    END IF;
    IF site_column IS NULL THEN
        rule := rule || ' AND (SELECT app_site()) IS NULL';
    ELSE
        rule := rule || format(
            ' AND ((SELECT app_site()) IS NULL OR %I = (SELECT app_site()))', site_column);
    END IF;
    rule := format('(SELECT app_platform()) OR (%s)', rule);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY tenant ON %s TO unifyit_app USING (%s) WITH CHECK (%s)', target, rule, rule);
END $$;
REVOKE ALL ON FUNCTION protect FROM PUBLIC;

-- Hierarchy -------------------------------------------------------------------

CREATE TABLE partners (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
-- Everybody sees the partner above; only the platform writes partners.
ALTER TABLE partners ENABLE ROW LEVEL SECURITY;
ALTER TABLE partners FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON partners TO unifyit_app
    USING ((SELECT app_platform()) OR id = (SELECT app_partner()))
    WITH CHECK ((SELECT app_platform()));

CREATE TABLE organizations (
    id          uuid PRIMARY KEY,
    partner_id  uuid NOT NULL REFERENCES partners,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
CREATE INDEX organizations_by_partner ON organizations (partner_id);
-- Visible from the sites below too: they show its name.
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON organizations TO unifyit_app
    USING ((SELECT app_platform()) OR (partner_id = (SELECT app_partner())
        AND ((SELECT app_organization()) IS NULL OR id = (SELECT app_organization()))))
    WITH CHECK ((SELECT app_platform()) OR (partner_id = (SELECT app_partner())
        AND (SELECT app_site()) IS NULL
        AND ((SELECT app_organization()) IS NULL OR id = (SELECT app_organization()))));

-- The organization's authority. Needed at every level below it to sign.
CREATE TABLE organization_keys (
    organization_id  uuid PRIMARY KEY REFERENCES organizations,
    partner_id       uuid NOT NULL REFERENCES partners,
    public_key       bytea NOT NULL CHECK (length(public_key) = 32),
    sealed_seed      bytea NOT NULL,
    command_counter  bigint NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE organization_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE organization_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON organization_keys TO unifyit_app
    USING ((SELECT app_platform()) OR (partner_id = (SELECT app_partner())
        AND ((SELECT app_organization()) IS NULL OR organization_id = (SELECT app_organization()))));

CREATE TABLE sites (
    id               uuid PRIMARY KEY,
    partner_id       uuid NOT NULL REFERENCES partners,
    organization_id  uuid NOT NULL REFERENCES organizations,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at       timestamptz NOT NULL DEFAULT now(),
    deleted_at       timestamptz
);
CREATE INDEX sites_by_organization ON sites (organization_id);
CREATE INDEX sites_by_partner ON sites (partner_id);
SELECT protect('sites', site_column => 'id');

CREATE TABLE site_configs (
    site_id            uuid PRIMARY KEY REFERENCES sites,
    partner_id         uuid NOT NULL,
    organization_id    uuid NOT NULL,
    revision           bigint NOT NULL DEFAULT 1,
    collect_every_s    integer NOT NULL DEFAULT 10 CHECK (collect_every_s BETWEEN 1 AND 3600),
    inventory_every_s  integer NOT NULL DEFAULT 900 CHECK (inventory_every_s BETWEEN 60 AND 86400),
    ui_pin_hash        text NOT NULL DEFAULT '',
    cache_remaps       text[] NOT NULL DEFAULT '{}',
    cache_hosts        text[] NOT NULL DEFAULT '{}',
    updated_at         timestamptz NOT NULL DEFAULT now()
);
SELECT protect('site_configs');

CREATE TABLE relays (
    id               uuid PRIMARY KEY,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL REFERENCES sites,
    peer_id          text NOT NULL UNIQUE,
    hostname         text NOT NULL DEFAULT '',
    version          text NOT NULL DEFAULT '',
    ca_fingerprint   bytea NOT NULL DEFAULT '',
    lan_https        text[] NOT NULL DEFAULT '{}',
    down_epoch       bigint NOT NULL,
    down_seq         bigint NOT NULL DEFAULT 0,
    down_acked       bigint NOT NULL DEFAULT 0,
    online           boolean NOT NULL DEFAULT false,
    state_since      timestamptz NOT NULL DEFAULT now(),
    connected_since  timestamptz,
    last_contact     timestamptz,
    -- The last `RelayStatus` in JSON, under its own field names.
    status           jsonb NOT NULL DEFAULT '{}',
    status_at        timestamptz,
    enrolled_at      timestamptz NOT NULL DEFAULT now(),
    revoked_at       timestamptz
);
-- A site has at most one relay that counts.
CREATE UNIQUE INDEX relays_one_active_per_site ON relays (site_id) WHERE revoked_at IS NULL;
SELECT protect('relays');

-- Computers -------------------------------------------------------------------

CREATE FUNCTION device_search(name text, hostname text, address text, os_name text, tags text[])
    RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT lower(name || ' ' || hostname || ' ' || address || ' ' || os_name || ' ' || array_to_string(tags, ' ')) $$;

CREATE TABLE devices (
    id               uuid PRIMARY KEY,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL REFERENCES sites,
    -- What lists filter and sort by stands before every text: a scan of 100,000
    -- rows then unpacks only the front of each.
    revoked_at       timestamptz,
    online           boolean NOT NULL DEFAULT false,
    online_since     timestamptz NOT NULL DEFAULT now(),
    last_seen        timestamptz,
    metrics_at       timestamptz,
    cpu_pct          real,
    memory_pct       real,
    disk_pct         real,
    enrolled_at      timestamptz NOT NULL DEFAULT now(),
    name_key         text COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (lower(CASE WHEN name = '' THEN hostname ELSE name END)) STORED,
    search           text COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (device_search(name, hostname, address, os_name, tags)) STORED,
    os_name          text NOT NULL DEFAULT '',
    os_family        text NOT NULL DEFAULT '',
    -- Empty until a technician names it; then the host name steps back.
    name             text NOT NULL DEFAULT '',
    hostname         text NOT NULL DEFAULT '',
    tags             text[] NOT NULL DEFAULT '{}',
    arch             text NOT NULL DEFAULT '',
    agent_version    text NOT NULL DEFAULT '',
    address          text NOT NULL DEFAULT ''
) WITH (fillfactor = 80);
-- Latest values change every minute and stand in no index: updates stay in the page.
CREATE INDEX devices_by_name ON devices (name_key, id);
CREATE INDEX devices_by_partner ON devices (partner_id, name_key, id);
CREATE INDEX devices_by_organization ON devices (organization_id, name_key, id);
CREATE INDEX devices_by_site ON devices (site_id, name_key, id);
SELECT protect('devices');

-- When connections came and went; a row without a device is the relay's own.
CREATE TABLE presence_log (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    relay_id         uuid,
    device_id        uuid,
    online           boolean NOT NULL,
    address          text NOT NULL DEFAULT '',
    at               timestamptz NOT NULL
);
CREATE INDEX presence_log_by_device ON presence_log (device_id, at DESC);
CREATE INDEX presence_log_by_site ON presence_log (site_id, at DESC);
CREATE INDEX presence_log_by_time ON presence_log (at DESC);
SELECT protect('presence_log');

CREATE TABLE inventory_sections (
    device_id        uuid NOT NULL,
    section          text NOT NULL,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    at               timestamptz NOT NULL,
    cut              integer NOT NULL DEFAULT 0,
    PRIMARY KEY (device_id, section)
);
SELECT protect('inventory_sections');

CREATE TABLE inventory_entries (
    device_id        uuid NOT NULL,
    section          text NOT NULL,
    key              text COLLATE "C" NOT NULL,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    entry            jsonb NOT NULL,
    PRIMARY KEY (device_id, section, key)
);
CREATE INDEX inventory_by_key ON inventory_entries (organization_id, section, key);
SELECT protect('inventory_entries');

-- People and their ways in ----------------------------------------------------

CREATE TABLE users (
    id               uuid PRIMARY KEY,
    partner_id       uuid,
    organization_id  uuid,
    site_id          uuid,
    email            text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    name             text NOT NULL DEFAULT '',
    password_hash    text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    last_login_at    timestamptz,
    disabled_at      timestamptz
);
CREATE UNIQUE INDEX users_by_email ON users (lower(email));
SELECT protect('users');

CREATE TABLE memberships (
    id               uuid PRIMARY KEY,
    user_id          uuid NOT NULL REFERENCES users,
    role             text NOT NULL CHECK (role IN ('admin', 'technician', 'viewer')),
    scope            text NOT NULL CHECK (scope IN ('platform', 'partner', 'organization', 'site')),
    partner_id       uuid REFERENCES partners,
    organization_id  uuid REFERENCES organizations,
    site_id          uuid REFERENCES sites,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CHECK ((partner_id IS NOT NULL) = (scope <> 'platform')),
    CHECK ((organization_id IS NOT NULL) = (scope IN ('organization', 'site'))),
    CHECK ((site_id IS NOT NULL) = (scope = 'site'))
);
CREATE UNIQUE INDEX memberships_by_user ON memberships (user_id);
SELECT protect('memberships');

CREATE TABLE sessions (
    token_hash       bytea PRIMARY KEY,
    id               uuid NOT NULL UNIQUE,
    user_id          uuid NOT NULL REFERENCES users,
    partner_id       uuid,
    organization_id  uuid,
    site_id          uuid,
    created_at       timestamptz NOT NULL DEFAULT now(),
    last_used_at     timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    address          text NOT NULL DEFAULT '',
    user_agent       text NOT NULL DEFAULT ''
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
SELECT protect('sessions');

CREATE TABLE api_keys (
    id               uuid PRIMARY KEY,
    key_hash         bytea NOT NULL UNIQUE,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    hint             text NOT NULL,
    role             text NOT NULL CHECK (role IN ('admin', 'technician', 'viewer')),
    scope            text NOT NULL CHECK (scope IN ('platform', 'partner', 'organization', 'site')),
    partner_id       uuid,
    organization_id  uuid,
    site_id          uuid,
    created_by       uuid NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    last_used_at     timestamptz,
    expires_at       timestamptz,
    revoked_at       timestamptz
);
SELECT protect('api_keys');

CREATE TABLE install_tokens (
    id               uuid PRIMARY KEY,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL REFERENCES sites,
    kind             text NOT NULL CHECK (kind IN ('relay', 'agent')),
    uses             integer NOT NULL CHECK (uses BETWEEN 1 AND 100000),
    used             integer NOT NULL DEFAULT 0,
    expires_at       timestamptz NOT NULL,
    revoked_at       timestamptz,
    created_by       text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX install_tokens_by_site ON install_tokens (site_id, created_at DESC);
SELECT protect('install_tokens');

-- What a key of a request answered, so that a repeat answers the same. Written
-- in the acting transaction: two racing repeats wait for each other here.
CREATE TABLE idempotency_keys (
    actor_id         uuid NOT NULL,
    key              text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    partner_id       uuid,
    organization_id  uuid,
    site_id          uuid,
    fingerprint      bytea NOT NULL,
    status           smallint,
    body             jsonb,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor_id, key)
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);
SELECT protect('idempotency_keys');

-- Work ------------------------------------------------------------------------

-- What a technician asked for. A task over several organizations stands at
-- their partner (no organization id), one over several partners at the platform.
CREATE TABLE tasks (
    id               uuid PRIMARY KEY,
    partner_id       uuid,
    organization_id  uuid,
    site_id          uuid,
    name             text NOT NULL DEFAULT '',
    action           jsonb NOT NULL,
    created_by       text NOT NULL,
    created_by_id    uuid NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    cancelled_at     timestamptz,
    finished_at      timestamptz,
    total            integer NOT NULL
);
CREATE INDEX tasks_by_time ON tasks (id DESC);
CREATE INDEX tasks_by_partner ON tasks (partner_id, id DESC);
CREATE INDEX tasks_by_organization ON tasks (organization_id, id DESC);
CREATE INDEX tasks_open ON tasks (expires_at) WHERE finished_at IS NULL;
SELECT protect('tasks');

-- One signed command for one site's relay. `task_id` is empty for terminals.
CREATE TABLE commands (
    id               uuid PRIMARY KEY,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    task_id          uuid REFERENCES tasks,
    kind             text NOT NULL,
    -- The `Signed<Command>` in CBOR.
    signed           bytea NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL
);
CREATE INDEX commands_by_task ON commands (task_id);
SELECT protect('commands');

CREATE TABLE task_targets (
    task_id          uuid NOT NULL REFERENCES tasks,
    device_id        uuid NOT NULL,
    command_id       uuid NOT NULL,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'running',
        'succeeded', 'failed', 'timed_out', 'cancelled', 'expired', 'refused', 'indeterminate')),
    exit_code        integer,
    reason           text,
    output_len       bigint NOT NULL DEFAULT 0,
    output_cut       bigint NOT NULL DEFAULT 0,
    started_at       timestamptz,
    finished_at      timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, device_id)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX task_targets_by_command ON task_targets (command_id, device_id);
CREATE INDEX task_targets_by_device ON task_targets (device_id, task_id DESC);
SELECT protect('task_targets');

CREATE TABLE task_output (
    task_id          uuid NOT NULL,
    device_id        uuid NOT NULL,
    byte_offset      bigint NOT NULL,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    -- 1 standard output, 2 standard error.
    stream           smallint NOT NULL,
    data             bytea NOT NULL,
    PRIMARY KEY (task_id, device_id, byte_offset)
);
SELECT protect('task_output');

-- The link ----------------------------------------------------------------------

-- How far each of a relay's lanes is applied (G2). Moves with the effect.
CREATE TABLE lane_cursors (
    relay_id         uuid NOT NULL REFERENCES relays,
    lane             text NOT NULL CHECK (lane IN ('urgent', 'state', 'output', 'metrics')),
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    epoch            bigint NOT NULL,
    seq              bigint NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (relay_id, lane)
);
SELECT protect('lane_cursors');

-- What a relay is yet to be told, written in the acting transaction. `seq`
-- comes from `relays.down_seq` under that row's lock, so it rises in commit order.
CREATE TABLE downlink (
    relay_id         uuid NOT NULL REFERENCES relays,
    seq              bigint NOT NULL,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    -- An enveloped `DownRecord`.
    body             bytea NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    acked_at         timestamptz,
    PRIMARY KEY (relay_id, seq)
);
SELECT protect('downlink');

-- Measurements --------------------------------------------------------------------

CREATE TABLE series_tables (
    device_id        uuid NOT NULL,
    hash             bigint NOT NULL,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    -- `SeriesTable` in CBOR.
    series           bytea NOT NULL,
    first_seen       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, hash)
);
SELECT protect('series_tables');

-- Rollups as they came, one row a range of minutes, until they are packed.
CREATE TABLE metric_recent (
    device_id        uuid NOT NULL,
    first_minute     bigint NOT NULL,
    last_minute      bigint NOT NULL,
    series_hash      bigint NOT NULL,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    block            bytea NOT NULL,
    PRIMARY KEY (device_id, first_minute, series_hash)
);
CREATE INDEX metric_recent_by_minute ON metric_recent (first_minute);
SELECT protect('metric_recent');

-- One compressed block a device and period.
CREATE TABLE metric_blocks (
    device_id        uuid NOT NULL,
    first_minute     bigint NOT NULL,
    last_minute      bigint NOT NULL,
    series_hash      bigint NOT NULL,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    block            bytea NOT NULL,
    PRIMARY KEY (device_id, first_minute, series_hash)
);
-- Already compressed: another attempt would only cost.
ALTER TABLE metric_blocks ALTER COLUMN block SET STORAGE EXTERNAL;
CREATE INDEX metric_blocks_by_minute ON metric_blocks (first_minute);
SELECT protect('metric_blocks');

CREATE TABLE metric_latest (
    device_id        uuid PRIMARY KEY,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    at               timestamptz NOT NULL,
    -- [{"name","label","unit","value"}]
    readings         jsonb NOT NULL
) WITH (fillfactor = 70);
SELECT protect('metric_latest');

-- Data that existed and was dropped (G6).
CREATE TABLE gaps (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    device_id        uuid,
    lane             text NOT NULL,
    records          bigint NOT NULL,
    from_at          timestamptz NOT NULL,
    to_at            timestamptz NOT NULL,
    reason           text NOT NULL,
    at               timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX gaps_by_device ON gaps (device_id, to_at);
CREATE INDEX gaps_by_site ON gaps (site_id, to_at);
SELECT protect('gaps');

-- What happened ---------------------------------------------------------------------

CREATE TABLE audit_log (
    id               uuid PRIMARY KEY,
    partner_id       uuid,
    organization_id  uuid,
    site_id          uuid,
    device_id        uuid,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor            text NOT NULL,
    actor_id         uuid,
    action           text NOT NULL,
    target           text NOT NULL DEFAULT '',
    detail           text NOT NULL DEFAULT '',
    request_id       text NOT NULL DEFAULT '',
    -- The chain: one an organization, one a partner's own, one the platform's.
    chain_id         uuid NOT NULL,
    seq              bigint NOT NULL,
    prev_hash        bytea NOT NULL,
    hash             bytea NOT NULL,
    UNIQUE (chain_id, seq)
);
CREATE INDEX audit_log_by_organization ON audit_log (organization_id, id DESC);
CREATE INDEX audit_log_by_partner ON audit_log (partner_id, id DESC);
CREATE INDEX audit_log_by_device ON audit_log (device_id, id DESC);
SELECT protect('audit_log');

CREATE TABLE audit_heads (
    chain_id  uuid PRIMARY KEY,
    seq       bigint NOT NULL,
    hash      bytea NOT NULL
);
ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY definer ON audit_heads TO unifyit_definer USING (true) WITH CHECK (true);

-- The bytes that an audit row's hash covers, for writing and for checking.
CREATE FUNCTION audit_digest(entry audit_log) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(entry.prev_hash || convert_to(jsonb_build_array(
        entry.chain_id, entry.seq, entry.id, entry.partner_id, entry.organization_id, entry.site_id,
        entry.device_id, extract(epoch FROM entry.at), entry.actor, entry.actor_id, entry.action,
        entry.target, entry.detail, entry.request_id)::text, 'UTF8'))
$$;

CREATE FUNCTION audit_chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public AS $$
DECLARE
    head audit_heads;
BEGIN
    NEW.chain_id := coalesce(NEW.organization_id, NEW.partner_id, '00000000-0000-0000-0000-000000000000');
    INSERT INTO audit_heads AS h VALUES (NEW.chain_id, 0, '')
        ON CONFLICT (chain_id) DO UPDATE SET seq = h.seq RETURNING * INTO head;
    NEW.seq := head.seq + 1;
    NEW.prev_hash := head.hash;
    NEW.hash := audit_digest(NEW);
    UPDATE audit_heads SET seq = NEW.seq, hash = NEW.hash WHERE chain_id = NEW.chain_id;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_chain BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_chain();

-- What browsers were told, so that a socket can resume. Pruned.
CREATE TABLE events (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner_id       uuid,
    organization_id  uuid,
    site_id          uuid,
    kind             text NOT NULL,
    payload          jsonb NOT NULL,
    at               timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX events_by_time ON events (at);
SELECT protect('events');

-- Looking before anybody is known ------------------------------------------------------

GRANT SELECT, INSERT, UPDATE ON audit_heads TO unifyit_definer;
GRANT SELECT ON users, memberships, api_keys, sessions, partners, organizations, sites TO unifyit_definer;
GRANT UPDATE (last_used_at) ON sessions, api_keys TO unifyit_definer;
GRANT SELECT (id, partner_id, organization_id, site_id, peer_id, down_epoch, revoked_at) ON relays TO unifyit_definer;
GRANT SELECT (id, partner_id, organization_id, site_id) ON install_tokens TO unifyit_definer;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['users', 'memberships', 'partners', 'organizations', 'sites', 'relays', 'install_tokens'] LOOP
        EXECUTE format('CREATE POLICY definer ON %I FOR SELECT TO unifyit_definer USING (true)', name);
    END LOOP;
END $$;
CREATE POLICY definer ON sessions TO unifyit_definer USING (true);
CREATE POLICY definer ON api_keys TO unifyit_definer USING (true);

CREATE TYPE actor_row AS (
    user_id uuid, email text, name text, password_hash text, role text, scope text,
    partner_id uuid, organization_id uuid, site_id uuid, scope_name text
);

-- The user with role and scope; nothing for a disabled one.
CREATE FUNCTION auth_actor(wanted uuid) RETURNS SETOF actor_row LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public AS $$
    SELECT u.id, u.email, u.name, u.password_hash, m.role, m.scope, m.partner_id, m.organization_id, m.site_id,
        coalesce(s.name, o.name, p.name, 'Platform')
    FROM users u JOIN memberships m ON m.user_id = u.id
        LEFT JOIN partners p ON p.id = m.partner_id
        LEFT JOIN organizations o ON o.id = m.organization_id
        LEFT JOIN sites s ON s.id = m.site_id
    WHERE u.id = wanted AND u.disabled_at IS NULL
        AND p.deleted_at IS NULL AND o.deleted_at IS NULL AND s.deleted_at IS NULL
$$;

CREATE FUNCTION auth_by_email(wanted text) RETURNS SETOF actor_row LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public AS $$
    SELECT a.* FROM users u, auth_actor(u.id) a WHERE lower(u.email) = lower(wanted)
$$;

-- A live session's user. Notes the use, at most once a minute, and only while
-- the session is neither expired nor idle for longer than `idle`.
CREATE FUNCTION auth_by_session(wanted bytea, idle interval)
    RETURNS TABLE (session_id uuid, actor actor_row) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public AS $$
DECLARE
    hit sessions;
BEGIN
    SELECT * INTO hit FROM sessions WHERE token_hash = wanted
        AND expires_at > now() AND last_used_at > now() - idle;
    IF NOT FOUND THEN RETURN; END IF;
    IF hit.last_used_at < now() - interval '1 minute' THEN
        UPDATE sessions SET last_used_at = now() WHERE token_hash = wanted;
    END IF;
    RETURN QUERY SELECT hit.id, a FROM auth_actor(hit.user_id) a;
END $$;

CREATE FUNCTION auth_by_api_key(wanted bytea) RETURNS TABLE (
    id uuid, name text, role text, scope text, partner_id uuid, organization_id uuid, site_id uuid,
    created_by uuid
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    hit api_keys;
BEGIN
    SELECT k.* INTO hit FROM api_keys k WHERE k.key_hash = wanted AND k.revoked_at IS NULL
        AND (k.expires_at IS NULL OR k.expires_at > now());
    IF NOT FOUND THEN RETURN; END IF;
    IF hit.last_used_at IS NULL OR hit.last_used_at < now() - interval '1 minute' THEN
        UPDATE api_keys k SET last_used_at = now() WHERE k.id = hit.id;
    END IF;
    RETURN QUERY SELECT hit.id, hit.name, hit.role, hit.scope, hit.partner_id,
        hit.organization_id, hit.site_id, hit.created_by;
END $$;

-- Whose relay a peer id is. Revoked ones are returned too, and say so.
CREATE FUNCTION relay_by_peer(wanted text) RETURNS TABLE (
    id uuid, partner_id uuid, organization_id uuid, site_id uuid, down_epoch bigint, revoked boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT r.id, r.partner_id, r.organization_id, r.site_id, r.down_epoch, r.revoked_at IS NOT NULL
    FROM relays r WHERE r.peer_id = wanted
$$;

-- Where an install token belongs; its content is read under that scope.
CREATE FUNCTION install_token_place(wanted uuid) RETURNS TABLE (
    partner_id uuid, organization_id uuid, site_id uuid
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT t.partner_id, t.organization_id, t.site_id FROM install_tokens t WHERE t.id = wanted
$$;

-- Whether anybody can sign in yet: decides whether `bootstrap` may run.
CREATE FUNCTION any_user() RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public AS $$ SELECT EXISTS (SELECT FROM users) $$;

GRANT CREATE ON SCHEMA public TO unifyit_definer;
ALTER FUNCTION audit_chain() OWNER TO unifyit_definer;
ALTER FUNCTION auth_actor(uuid) OWNER TO unifyit_definer;
ALTER FUNCTION auth_by_email(text) OWNER TO unifyit_definer;
ALTER FUNCTION auth_by_session(bytea, interval) OWNER TO unifyit_definer;
ALTER FUNCTION auth_by_api_key(bytea) OWNER TO unifyit_definer;
ALTER FUNCTION relay_by_peer(text) OWNER TO unifyit_definer;
ALTER FUNCTION install_token_place(uuid) OWNER TO unifyit_definer;
ALTER FUNCTION any_user() OWNER TO unifyit_definer;
REVOKE CREATE ON SCHEMA public FROM unifyit_definer;

REVOKE ALL ON FUNCTION auth_actor, auth_by_email, auth_by_session, auth_by_api_key, relay_by_peer,
    install_token_place, any_user, audit_chain FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth_actor, auth_by_email, auth_by_session, auth_by_api_key, relay_by_peer,
    install_token_place, any_user TO unifyit_app;

-- What the service may do -----------------------------------------------------------------

GRANT SELECT, INSERT, UPDATE ON partners, organizations, sites, site_configs, relays, devices,
    users, memberships, api_keys, install_tokens, tasks, task_targets TO unifyit_app;
GRANT SELECT, INSERT, UPDATE (command_counter) ON organization_keys TO unifyit_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, idempotency_keys, inventory_sections,
    inventory_entries, lane_cursors, downlink, series_tables, metric_recent, metric_blocks,
    metric_latest TO unifyit_app;
GRANT SELECT, INSERT, DELETE ON presence_log, gaps, events, task_output, commands TO unifyit_app;
GRANT DELETE ON tasks, task_targets TO unifyit_app;
-- Append-only: no UPDATE, no DELETE.
GRANT SELECT, INSERT ON audit_log TO unifyit_app;
-- The service checks that the schema is the one it was built for.
GRANT SELECT ON _sqlx_migrations TO unifyit_app;
