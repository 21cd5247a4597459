-- Whose identity is whose: the computers that use one device's identity, and until
-- when a device's computer may enrol again.
ALTER TABLE devices
    ADD COLUMN computers jsonb,
    ADD COLUMN computers_since timestamptz,
    ADD COLUMN reenrol_until timestamptz;
-- Few are shared; the overview asks for them.
CREATE INDEX devices_shared ON devices (partner_id) WHERE computers IS NOT NULL;
