-- Loose rollups in the order of their arrival: of two rollups of one minute the
-- later one holds, also where it replaces a part of a longer block.
ALTER TABLE metric_recent DROP CONSTRAINT metric_recent_pkey;
ALTER TABLE metric_recent ADD COLUMN arrived bigint GENERATED ALWAYS AS IDENTITY;
ALTER TABLE metric_recent ADD PRIMARY KEY (device_id, first_minute, arrived);
