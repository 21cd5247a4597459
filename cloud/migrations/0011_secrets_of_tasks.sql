-- Values of a task's environment stand in the signed command alone. A task keeps
-- the variables' names.
ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY;
UPDATE tasks SET action = (action - 'env') || jsonb_build_object('env_names', coalesce(
    (SELECT jsonb_agg(name ORDER BY name) FROM jsonb_object_keys(action->'env') name), '[]'))
WHERE jsonb_typeof(action->'env') = 'object';
ALTER TABLE tasks FORCE ROW LEVEL SECURITY;

-- Events that told of tasks had whole scripts in them. A socket that resumes from
-- one reads anew.
ALTER TABLE events NO FORCE ROW LEVEL SECURITY;
DELETE FROM events WHERE kind = 'task.changed';
ALTER TABLE events FORCE ROW LEVEL SECURITY;
