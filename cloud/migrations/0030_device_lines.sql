-- What lists read of all computers of a partner, apart from what is read of one: a
-- question then reads a fraction of the pages and columns of `devices`.
--
-- Of what is written seldom there is a line (its pages stay such that no row has to be
-- looked at twice), and of what is written every minute there are the loads, which stand
-- here alone: the wide rows of `devices` with all their indexes, and the lines, are left
-- in peace by them. Everything else here is a copy, kept by triggers in the writer's own
-- statement. Lists in the order of loads filter by state and system, so both have these.
--
-- Nothing is NULL, and what has a fixed length stands first: the place of a column in a
-- row is then known beforehand. `-infinity` and -1 stand for what is not known, as lists
-- sort it.

CREATE TABLE device_lines (
    id               uuid PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    online           boolean NOT NULL,
    revoked          boolean NOT NULL,
    name_key         text COLLATE "C" NOT NULL,
    search           text COLLATE "C" NOT NULL,
    os_name          text COLLATE "C" NOT NULL,
    os_family        text COLLATE "C" NOT NULL
) WITH (fillfactor = 95);
SELECT protect('device_lines');
GRANT SELECT, INSERT, UPDATE ON device_lines TO unifyit_app;

-- Half of a page is left for what the next minute writes: the rows of a site stand
-- together and change together.
CREATE TABLE device_loads (
    id               uuid PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    -- When it was last heard, be it by its loads or its connection.
    seen             timestamptz NOT NULL,
    -- When the loads were measured.
    metrics_at       timestamptz NOT NULL,
    cpu_pct          real NOT NULL,
    memory_pct       real NOT NULL,
    disk_pct         real NOT NULL,
    online           boolean NOT NULL,
    revoked          boolean NOT NULL,
    -- Loads must stand in no index; whether one is high seldom changes. A list of the
    -- highest is found among these.
    cpu_high         boolean NOT NULL GENERATED ALWAYS AS (cpu_pct >= 90) STORED,
    memory_high      boolean NOT NULL GENERATED ALWAYS AS (memory_pct >= 90) STORED,
    disk_full        boolean NOT NULL GENERATED ALWAYS AS (disk_pct >= 90) STORED,
    os_name          text COLLATE "C" NOT NULL,
    os_family        text COLLATE "C" NOT NULL
) WITH (fillfactor = 50);
SELECT protect('device_loads');
GRANT SELECT, INSERT, UPDATE ON device_loads TO unifyit_app;

CREATE FUNCTION line_new_devices() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO device_lines (id, partner_id, organization_id, site_id, online, revoked,
        name_key, search, os_name, os_family)
    SELECT id, partner_id, organization_id, site_id, online, revoked_at IS NOT NULL,
        name_key, search, os_name, os_family FROM after;
    INSERT INTO device_loads (id, partner_id, organization_id, site_id, seen, metrics_at,
        cpu_pct, memory_pct, disk_pct, online, revoked, os_name, os_family)
    SELECT id, partner_id, organization_id, site_id,
        coalesce(greatest(last_seen, metrics_at), '-infinity'), coalesce(metrics_at, '-infinity'),
        coalesce(cpu_pct, -1), coalesce(memory_pct, -1), coalesce(disk_pct, -1),
        online, revoked_at IS NOT NULL, os_name, os_family FROM after;
    RETURN NULL;
END $$;

CREATE FUNCTION line_devices() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE device_lines l SET partner_id = a.partner_id, organization_id = a.organization_id,
        site_id = a.site_id, online = a.online, revoked = a.revoked_at IS NOT NULL,
        name_key = a.name_key, search = a.search, os_name = a.os_name, os_family = a.os_family
    FROM after a WHERE l.id = a.id
        AND (l.partner_id, l.organization_id, l.site_id, l.online, l.revoked,
            l.name_key, l.search, l.os_name, l.os_family) IS DISTINCT FROM
            (a.partner_id, a.organization_id, a.site_id, a.online, a.revoked_at IS NOT NULL,
            a.name_key, a.search, a.os_name, a.os_family);
    -- Loads are taken from `devices` only where they changed there: by a service of an
    -- earlier version that still runs while this one is put in its place.
    UPDATE device_loads l SET partner_id = a.partner_id, organization_id = a.organization_id,
        site_id = a.site_id, online = a.online, revoked = a.revoked_at IS NOT NULL,
        os_name = a.os_name, os_family = a.os_family,
        seen = CASE WHEN (a.last_seen, a.metrics_at) IS DISTINCT FROM (b.last_seen, b.metrics_at)
            THEN greatest(least(l.seen, now()), a.last_seen, a.metrics_at) ELSE l.seen END,
        metrics_at = CASE WHEN a.metrics_at IS DISTINCT FROM b.metrics_at
            THEN coalesce(a.metrics_at, '-infinity') ELSE l.metrics_at END,
        cpu_pct = CASE WHEN a.cpu_pct IS DISTINCT FROM b.cpu_pct
            THEN coalesce(a.cpu_pct, -1) ELSE l.cpu_pct END,
        memory_pct = CASE WHEN a.memory_pct IS DISTINCT FROM b.memory_pct
            THEN coalesce(a.memory_pct, -1) ELSE l.memory_pct END,
        disk_pct = CASE WHEN a.disk_pct IS DISTINCT FROM b.disk_pct
            THEN coalesce(a.disk_pct, -1) ELSE l.disk_pct END
    FROM after a JOIN before b ON b.id = a.id WHERE l.id = a.id
        AND (a.partner_id, a.organization_id, a.site_id, a.online, a.revoked_at, a.os_name,
            a.os_family, a.last_seen, a.metrics_at, a.cpu_pct, a.memory_pct, a.disk_pct)
            IS DISTINCT FROM
            (b.partner_id, b.organization_id, b.site_id, b.online, b.revoked_at, b.os_name,
            b.os_family, b.last_seen, b.metrics_at, b.cpu_pct, b.memory_pct, b.disk_pct);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION line_new_devices, line_devices FROM PUBLIC;
CREATE TRIGGER line_insert AFTER INSERT ON devices REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION line_new_devices();
CREATE TRIGGER line_update AFTER UPDATE ON devices REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION line_devices();

-- The owner, too, sees rows through policies only: it is let past them here.
ALTER TABLE devices NO FORCE ROW LEVEL SECURITY;
ALTER TABLE device_lines NO FORCE ROW LEVEL SECURITY;
ALTER TABLE device_loads NO FORCE ROW LEVEL SECURITY;
INSERT INTO device_lines (id, partner_id, organization_id, site_id, online, revoked,
    name_key, search, os_name, os_family)
SELECT id, partner_id, organization_id, site_id, online, revoked_at IS NOT NULL,
    name_key, search, os_name, os_family FROM devices;
INSERT INTO device_loads (id, partner_id, organization_id, site_id, seen, metrics_at,
    cpu_pct, memory_pct, disk_pct, online, revoked, os_name, os_family)
SELECT id, partner_id, organization_id, site_id,
    coalesce(greatest(last_seen, metrics_at), '-infinity'), coalesce(metrics_at, '-infinity'),
    coalesce(cpu_pct, -1), coalesce(memory_pct, -1), coalesce(disk_pct, -1),
    online, revoked_at IS NOT NULL, os_name, os_family FROM devices;
ALTER TABLE devices FORCE ROW LEVEL SECURITY;
ALTER TABLE device_lines FORCE ROW LEVEL SECURITY;
ALTER TABLE device_loads FORCE ROW LEVEL SECURITY;

-- For whoever has few of all computers, and for what few computers have.
CREATE INDEX device_lines_by_os ON device_lines (partner_id, os_name);
CREATE INDEX device_lines_by_os_family ON device_lines (partner_id, os_family);
CREATE INDEX device_lines_by_organization ON device_lines (organization_id);
CREATE INDEX device_lines_by_site ON device_lines (site_id);
CREATE INDEX device_loads_by_os ON device_loads (partner_id, os_name);
CREATE INDEX device_loads_by_os_family ON device_loads (partner_id, os_family);
CREATE INDEX device_loads_by_organization ON device_loads (organization_id);
CREATE INDEX device_loads_by_site ON device_loads (site_id);
CREATE INDEX device_loads_cpu_high ON device_loads (partner_id) WHERE cpu_high AND NOT revoked;
CREATE INDEX device_loads_memory_high ON device_loads (partner_id) WHERE memory_high AND NOT revoked;
CREATE INDEX device_loads_disk_full ON device_loads (partner_id) WHERE disk_full AND NOT revoked;
DROP INDEX devices_disk_full;
ANALYZE device_lines;
ANALYZE device_loads;
