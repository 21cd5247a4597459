-- When a device was heard is told by what changed in its row alone. The moment of its
-- loads is written there by a service of an earlier version only: it stands still since,
-- and where a clock had put it ahead, each coming and going of the device put back there
-- when it was seen. The rest of the function is as it was.
CREATE OR REPLACE FUNCTION line_devices() RETURNS trigger LANGUAGE plpgsql
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
            THEN greatest(least(l.seen, now()), a.last_seen,
                CASE WHEN a.metrics_at IS DISTINCT FROM b.metrics_at THEN a.metrics_at END)
            ELSE l.seen END,
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
