-- When agents started.
CREATE TABLE starts (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner_id       uuid NOT NULL,
    organization_id  uuid NOT NULL,
    site_id          uuid NOT NULL,
    device_id        uuid NOT NULL,
    at               timestamptz NOT NULL,
    version          text NOT NULL,
    UNIQUE (device_id, at)
);
SELECT protect('starts');
GRANT SELECT, INSERT, DELETE ON starts TO unifyit_app;
