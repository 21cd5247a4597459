-- A task over several organizations stands at their partner, one over several
-- partners at the platform. Whoever has a device among its targets sees it all the
-- same: the task itself, and of its targets their own.
CREATE POLICY shared ON tasks FOR SELECT TO unifyit_app USING (
    (SELECT app_partner()) IS NOT NULL
    AND (partner_id IS NULL OR partner_id = (SELECT app_partner()))
    AND (organization_id IS NULL OR (SELECT app_organization()) IS NULL
        OR organization_id = (SELECT app_organization()))
    AND (partner_id IS NULL OR organization_id IS NULL OR site_id IS NULL)
    AND EXISTS (SELECT FROM task_targets t WHERE t.task_id = tasks.id));
