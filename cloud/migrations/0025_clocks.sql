-- How far clocks are off, as relays and the link measure them: positive is ahead.
-- 0 is right, or never measured.
ALTER TABLE devices ADD COLUMN clock_ahead_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE relays ADD COLUMN clock_ahead_ms bigint NOT NULL DEFAULT 0;
-- Few clocks are wrong, and the overview asks for them each time.
CREATE INDEX devices_wrong_clock ON devices (id) WHERE clock_ahead_ms <> 0;
