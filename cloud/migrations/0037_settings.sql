-- Settings in layers: a document a topic at a partner, an organization, a site or a device.
-- What a site's relay is to have (`site_configs`) is made of them.

CREATE TABLE settings (
    -- The place's own id.
    spot             uuid NOT NULL,
    topic            text NOT NULL CHECK (length(topic) BETWEEN 1 AND 64),
    level            text NOT NULL CHECK (level IN ('partner', 'organization', 'site', 'device')),
    partner_id       uuid NOT NULL REFERENCES partners,
    organization_id  uuid,
    site_id          uuid,
    -- By field: {"value": …, "set": {"by", "at"}, "locked": {"by", "at"}}.
    fields           jsonb NOT NULL CHECK (jsonb_typeof(fields) = 'object'
                                           AND length(fields::text) <= 262144),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (spot, topic),
    CHECK (CASE level
        WHEN 'partner' THEN spot = partner_id AND organization_id IS NULL AND site_id IS NULL
        WHEN 'organization' THEN organization_id IS NOT NULL AND spot = organization_id AND site_id IS NULL
        WHEN 'site' THEN organization_id IS NOT NULL AND site_id IS NOT NULL AND spot = site_id
        ELSE organization_id IS NOT NULL AND site_id IS NOT NULL END),
    FOREIGN KEY (organization_id, partner_id) REFERENCES organizations (id, partner_id),
    FOREIGN KEY (site_id, organization_id, partner_id) REFERENCES sites (id, organization_id, partner_id)
);
CREATE INDEX settings_of_devices ON settings (site_id, topic) WHERE level = 'device';

-- What is to hold at a site, composed: {topic: {field: value}}. Where a document above it
-- changed, it is to be composed anew.
ALTER TABLE site_configs
    ADD COLUMN desired jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN stale boolean NOT NULL DEFAULT false;
CREATE INDEX site_configs_stale ON site_configs (site_id) WHERE stale;

-- What stood in columns, carried over. What is as it usually is was set by nobody. The
-- owner, too, sees rows through policies only: it is let past them here.
ALTER TABLE site_configs NO FORCE ROW LEVEL SECURITY;
UPDATE site_configs c SET desired = jsonb_build_object(
    'collection', jsonb_build_object(
        'collect_every_s', collect_every_s, 'inventory_every_s', inventory_every_s),
    'package_cache', jsonb_build_object(
        'hosts', to_jsonb(cache_hosts),
        'remaps', coalesce((SELECT jsonb_agg(jsonb_build_object('name', split_part(r, '=', 1),
            'url', substr(r, strpos(r, '=') + 1)) ORDER BY n)
            FROM unnest(cache_remaps) WITH ORDINALITY AS each (r, n)), '[]'),
        'plan', CASE WHEN cache_from_min IS NOT NULL THEN jsonb_build_object(
            'from', lpad((cache_from_min / 60)::text, 2, '0') || ':' || lpad((cache_from_min % 60)::text, 2, '0'),
            'until', lpad((cache_until_min / 60)::text, 2, '0') || ':' || lpad((cache_until_min % 60)::text, 2, '0'),
            'bytes_per_s', cache_bytes_per_s) END),
    'local_ui', jsonb_build_object('pin', nullif(ui_pin_hash, '')));
INSERT INTO settings (spot, topic, level, partner_id, organization_id, site_id, fields)
    SELECT c.site_id, topic.key, 'site', c.partner_id, c.organization_id, c.site_id,
        jsonb_object_agg(field.key, jsonb_build_object('value', field.value, 'set',
            jsonb_build_object('by', '', 'at', to_char(c.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))))
    FROM site_configs c, jsonb_each(c.desired) AS topic, jsonb_each(topic.value) AS field
    WHERE (field.key, field.value) NOT IN (('collect_every_s', '10'), ('inventory_every_s', '900'),
        ('hosts', '[]'), ('remaps', '[]'), ('plan', 'null'), ('pin', 'null'))
    GROUP BY c.site_id, topic.key, c.partner_id, c.organization_id, c.updated_at;
ALTER TABLE site_configs FORCE ROW LEVEL SECURITY;
ALTER TABLE site_configs
    DROP COLUMN collect_every_s,
    DROP COLUMN inventory_every_s,
    DROP COLUMN ui_pin_hash,
    DROP COLUMN cache_remaps,
    DROP COLUMN cache_hosts,
    DROP COLUMN cache_from_min,
    DROP COLUMN cache_until_min,
    DROP COLUMN cache_bytes_per_s;

-- Which revision a relay was sent, and which it says that it has.
ALTER TABLE relays
    ADD COLUMN settings_sent bigint NOT NULL DEFAULT 0,
    ADD COLUMN settings_sent_at timestamptz,
    ADD COLUMN settings_acknowledged bigint;

SELECT protect('settings');
-- What stands above a place counts there: whoever sees a partner or an organization, from
-- below too, sees its documents. They are written as all rows are.
CREATE POLICY above ON settings FOR SELECT TO unifyit_app USING (
    (level = 'partner' AND EXISTS (SELECT FROM partners p WHERE p.id = partner_id))
    OR (level = 'organization' AND EXISTS (SELECT FROM organizations o WHERE o.id = organization_id)));
GRANT SELECT, INSERT, UPDATE, DELETE ON settings TO unifyit_app;
