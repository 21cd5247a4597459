-- When a stop was last sent to a device that had not ended. Where a device is found to run
-- what was cancelled without it, because it counted as done in that moment, none was.
ALTER TABLE task_targets ADD COLUMN stop_at timestamptz;
