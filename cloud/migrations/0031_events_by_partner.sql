-- A socket that resumes asks what its partner was told since: without this it walked
-- what everybody was told.
CREATE INDEX events_by_partner ON events (partner_id, id);
