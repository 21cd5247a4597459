-- What is not done yet, of all that ever ran: counted on every overview.
CREATE INDEX task_targets_open ON task_targets (site_id, task_id)
    WHERE status IN ('pending', 'sent', 'running');
