-- What a relay and the cloud need to find out what the other has lost, after one of
-- them was put back to an older copy of itself.

-- What an entry is about. A later entry of the same kind and key takes its place,
-- except for commands; an expired one is deleted unsent.
ALTER TABLE downlink
    ADD COLUMN kind text NOT NULL DEFAULT '',
    ADD COLUMN key uuid,
    ADD COLUMN expires_at timestamptz;
CREATE INDEX downlink_by_expiry ON downlink (expires_at) WHERE expires_at IS NOT NULL;

-- The relay that last spoke of the device as its own. Empty until one does.
ALTER TABLE devices ADD COLUMN relay_id uuid;
