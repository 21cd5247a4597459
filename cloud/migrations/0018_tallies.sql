-- What lists of computers count and filter by, kept so that no question reads
-- all computers for it. Row policies let an index serve plain comparisons only:
-- tags get rows of their own.

-- How many computers stand how at each site, as sums: a statement that changes
-- computers adds its differences as rows, so that nobody waits for a counter; a
-- job folds them together.
CREATE TABLE device_tallies (
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    os_name          text NOT NULL,
    os_family        text NOT NULL,
    online           boolean NOT NULL,
    revoked          boolean NOT NULL,
    n                bigint NOT NULL
);
CREATE INDEX device_tallies_by_site ON device_tallies (site_id);
CREATE INDEX device_tallies_by_partner ON device_tallies (partner_id);
SELECT protect('device_tallies');
GRANT SELECT, INSERT, DELETE ON device_tallies TO unifyit_app;

CREATE TABLE device_tags (
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    device_id        uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
    tag              text NOT NULL,
    PRIMARY KEY (device_id, tag)
);
CREATE INDEX device_tags_by_tag ON device_tags (tag, partner_id, device_id);
SELECT protect('device_tags');
GRANT SELECT, INSERT, DELETE ON device_tags TO unifyit_app;

CREATE FUNCTION tally_devices() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO device_tallies
        SELECT partner_id, organization_id, site_id, os_name, os_family, online, revoked_at IS NOT NULL, count(*)
        FROM after GROUP BY 1, 2, 3, 4, 5, 6, 7;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO device_tallies
        SELECT partner_id, organization_id, site_id, os_name, os_family, online, revoked_at IS NOT NULL, -count(*)
        FROM before GROUP BY 1, 2, 3, 4, 5, 6, 7;
    ELSE
        -- Values of a minute change nothing here and leave nothing.
        INSERT INTO device_tallies
        SELECT partner_id, organization_id, site_id, os_name, os_family, online, revoked, sum(n) FROM (
            SELECT partner_id, organization_id, site_id, os_name, os_family, online,
                revoked_at IS NOT NULL AS revoked, 1 AS n FROM after
            UNION ALL
            SELECT partner_id, organization_id, site_id, os_name, os_family, online,
                revoked_at IS NOT NULL, -1 FROM before) changed
        GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING sum(n) <> 0;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tally_insert AFTER INSERT ON devices REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tally_devices();
CREATE TRIGGER tally_update AFTER UPDATE ON devices REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tally_devices();
CREATE TRIGGER tally_delete AFTER DELETE ON devices REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION tally_devices();

CREATE FUNCTION tag_device() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    DELETE FROM device_tags t WHERE t.device_id = NEW.id AND t.tag <> ALL(NEW.tags);
    INSERT INTO device_tags SELECT NEW.partner_id, NEW.organization_id, NEW.site_id, NEW.id, tag
        FROM unnest(NEW.tags) AS tag ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER tag_insert AFTER INSERT ON devices FOR EACH ROW
    WHEN (NEW.tags <> '{}') EXECUTE FUNCTION tag_device();
CREATE TRIGGER tag_update AFTER UPDATE ON devices FOR EACH ROW
    WHEN (NEW.tags IS DISTINCT FROM OLD.tags) EXECUTE FUNCTION tag_device();
REVOKE ALL ON FUNCTION tally_devices, tag_device FROM PUBLIC;

-- The owner, too, sees rows through policies only: it is let past them here.
ALTER TABLE devices NO FORCE ROW LEVEL SECURITY;
ALTER TABLE device_tallies NO FORCE ROW LEVEL SECURITY;
ALTER TABLE device_tags NO FORCE ROW LEVEL SECURITY;
INSERT INTO device_tallies
    SELECT partner_id, organization_id, site_id, os_name, os_family, online, revoked_at IS NOT NULL, count(*)
    FROM devices GROUP BY 1, 2, 3, 4, 5, 6, 7;
INSERT INTO device_tags SELECT d.partner_id, d.organization_id, d.site_id, d.id, tag
    FROM devices d, unnest(d.tags) AS tag ON CONFLICT DO NOTHING;
ALTER TABLE devices FORCE ROW LEVEL SECURITY;
ALTER TABLE device_tallies FORCE ROW LEVEL SECURITY;
ALTER TABLE device_tags FORCE ROW LEVEL SECURITY;

-- Full disks are few. The value itself changes every minute and must stand in no
-- index; whether it is high seldom does.
ALTER TABLE devices ADD COLUMN disk_full boolean GENERATED ALWAYS AS (disk_pct >= 90) STORED;
CREATE INDEX devices_disk_full ON devices (partner_id) WHERE disk_full AND revoked_at IS NULL;
CREATE INDEX devices_by_os ON devices (partner_id, os_name);
CREATE INDEX devices_by_os_family ON devices (partner_id, os_family);
-- Timelines and what happened last are read by time.
CREATE INDEX audit_log_by_device_time ON audit_log (device_id, at DESC);
CREATE INDEX presence_log_by_partner ON presence_log (partner_id, at DESC);
-- Newest values as numbers in the order of their table of columns; names and units
-- stand there and not in every row of every minute.
ALTER TABLE metric_latest ALTER COLUMN readings SET DEFAULT '[]',
    ADD COLUMN series_hash bigint, ADD COLUMN vals bytea;
-- How much of a device's output is kept: pieces that overlap must not fill a disk.
ALTER TABLE task_targets ADD COLUMN output_stored bigint NOT NULL DEFAULT 0;
