-- Whose an API key is, so that it ends with them; and one question that tells of
-- many sessions and keys at once what they still allow.

ALTER TABLE api_keys
    ADD COLUMN owner_id   uuid REFERENCES users,
    ADD COLUMN maker      text NOT NULL DEFAULT '',
    ADD COLUMN parent_id  uuid REFERENCES api_keys;
CREATE INDEX api_keys_by_parent ON api_keys (parent_id);
CREATE INDEX api_keys_by_owner ON api_keys (owner_id);

-- Keys that are there: their maker is a person, or a key whose maker is known. A
-- key that leads to nobody stays without an owner and opens nothing.
ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY;
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;
UPDATE api_keys k SET parent_id = p.id FROM api_keys p WHERE p.id = k.created_by AND p.id <> k.id;
WITH RECURSIVE made (id, by, depth) AS (
    SELECT k.id, k.created_by, 1 FROM api_keys k
    UNION ALL
    SELECT m.id, k.created_by, m.depth + 1 FROM made m JOIN api_keys k ON k.id = m.by
    WHERE k.created_by <> k.id AND m.depth < 100
)
UPDATE api_keys k SET owner_id = u.id, maker = u.email
FROM made m JOIN users u ON u.id = m.by WHERE m.id = k.id;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;

-- The higher the more.
CREATE FUNCTION role_rank(role text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT coalesce(array_position(ARRAY['viewer', 'technician', 'admin'], role), 0) $$;

-- What keys allow at this moment: nothing when the key or its owner has ended,
-- when the owner may less than the key, or when either's place was deleted.
CREATE FUNCTION key_rights(wanted uuid[]) RETURNS TABLE (
    id uuid, role text, scope text, partner_id uuid, organization_id uuid, site_id uuid
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT k.id, k.role, k.scope, k.partner_id, k.organization_id, k.site_id
    FROM public.api_keys k
        JOIN public.users u ON u.id = k.owner_id
        JOIN public.memberships m ON m.user_id = u.id
        LEFT JOIN public.partners p ON p.id = k.partner_id
        LEFT JOIN public.organizations o ON o.id = k.organization_id
        LEFT JOIN public.sites s ON s.id = k.site_id
        LEFT JOIN public.partners mp ON mp.id = m.partner_id
        LEFT JOIN public.organizations mo ON mo.id = m.organization_id
        LEFT JOIN public.sites ms ON ms.id = m.site_id
    WHERE k.id = ANY (wanted) AND k.revoked_at IS NULL
        AND (k.expires_at IS NULL OR k.expires_at > now())
        AND u.disabled_at IS NULL
        AND public.role_rank(k.role) <= public.role_rank(m.role)
        AND (m.partner_id IS NULL OR m.partner_id = k.partner_id)
        AND (m.organization_id IS NULL OR m.organization_id = k.organization_id)
        AND (m.site_id IS NULL OR m.site_id = k.site_id)
        AND p.deleted_at IS NULL AND o.deleted_at IS NULL AND s.deleted_at IS NULL
        AND mp.deleted_at IS NULL AND mo.deleted_at IS NULL AND ms.deleted_at IS NULL;
END $$;

DROP FUNCTION auth_by_api_key(bytea);
CREATE FUNCTION auth_by_api_key(wanted bytea) RETURNS TABLE (
    id uuid, name text, role text, scope text, partner_id uuid, organization_id uuid, site_id uuid,
    created_by uuid, owner_id uuid, maker text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    hit public.api_keys;
BEGIN
    SELECT k.* INTO hit FROM public.api_keys k WHERE k.key_hash = wanted AND k.revoked_at IS NULL;
    IF NOT FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT r.id, hit.name, r.role, r.scope, r.partner_id, r.organization_id, r.site_id,
        hit.created_by, hit.owner_id, hit.maker FROM public.key_rights(ARRAY[hit.id]) r;
    IF FOUND AND (hit.last_used_at IS NULL OR hit.last_used_at < now() - interval '1 minute') THEN
        UPDATE public.api_keys k SET last_used_at = now() WHERE k.id = hit.id;
    END IF;
END $$;

-- What sessions and keys allow at this moment; what is not returned allows
-- nothing. `used` are sessions that were used by other ways than requests.
CREATE FUNCTION rights_now(wanted_sessions uuid[], wanted_keys uuid[], used uuid[], idle interval)
    RETURNS TABLE (id uuid, role text, scope text, partner_id uuid, organization_id uuid, site_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE public.sessions s SET last_used_at = now()
    WHERE s.id = ANY (used) AND s.expires_at > now() AND s.last_used_at > now() - idle
        AND s.last_used_at < now() - interval '1 minute';
    RETURN QUERY
    SELECT s.id, m.role, m.scope, m.partner_id, m.organization_id, m.site_id
    FROM public.sessions s
        JOIN public.users u ON u.id = s.user_id
        JOIN public.memberships m ON m.user_id = u.id
        LEFT JOIN public.partners p ON p.id = m.partner_id
        LEFT JOIN public.organizations o ON o.id = m.organization_id
        LEFT JOIN public.sites i ON i.id = m.site_id
    WHERE s.id = ANY (wanted_sessions) AND s.expires_at > now() AND s.last_used_at > now() - idle
        AND u.disabled_at IS NULL
        AND p.deleted_at IS NULL AND o.deleted_at IS NULL AND i.deleted_at IS NULL
    UNION ALL
    SELECT r.id, r.role, r.scope, r.partner_id, r.organization_id, r.site_id
    FROM public.key_rights(wanted_keys) r;
END $$;

GRANT CREATE ON SCHEMA public TO unifyit_definer;
ALTER FUNCTION key_rights(uuid[]) OWNER TO unifyit_definer;
ALTER FUNCTION auth_by_api_key(bytea) OWNER TO unifyit_definer;
ALTER FUNCTION rights_now(uuid[], uuid[], uuid[], interval) OWNER TO unifyit_definer;
REVOKE CREATE ON SCHEMA public FROM unifyit_definer;
REVOKE ALL ON FUNCTION key_rights, auth_by_api_key, rights_now FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth_by_api_key, rights_now TO unifyit_app;
