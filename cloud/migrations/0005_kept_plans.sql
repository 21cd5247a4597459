-- Who speaks is asked with every request. A function in plain SQL that cannot be
-- inlined is planned anew at each call, which took longer than the answer;
-- PL/pgSQL keeps its plans with the connection.
CREATE OR REPLACE FUNCTION auth_actor(wanted uuid) RETURNS SETOF actor_row LANGUAGE plpgsql STABLE
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    RETURN QUERY
    SELECT u.id, u.email, u.name, u.password_hash, m.role, m.scope, m.partner_id, m.organization_id,
        m.site_id, coalesce(s.name, o.name, p.name, 'Platform')
    FROM users u JOIN memberships m ON m.user_id = u.id
        LEFT JOIN partners p ON p.id = m.partner_id
        LEFT JOIN organizations o ON o.id = m.organization_id
        LEFT JOIN sites s ON s.id = m.site_id
    WHERE u.id = wanted AND u.disabled_at IS NULL
        AND p.deleted_at IS NULL AND o.deleted_at IS NULL AND s.deleted_at IS NULL;
END $$;
