-- What the web page has found out about layers (package hub/layers). All of it can be
-- found out again.

-- +goose Up
CREATE TABLE layer_files (
    digest  TEXT PRIMARY KEY,
    files   TEXT NOT NULL,             -- what its tar holds: base64 of zstd
    problem TEXT NOT NULL DEFAULT ''   -- why its bytes cannot be read
);

CREATE TABLE layer_changes (
    chain   TEXT   PRIMARY KEY,        -- the layer and those below it
    top     TEXT   NOT NULL,           -- its digest
    added   BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    bytes   BIGINT NOT NULL,
    cut     TEXT   NOT NULL DEFAULT '',
    problem TEXT   NOT NULL DEFAULT '',
    head    TEXT   NOT NULL,           -- the first few changes: JSON
    list    TEXT   NOT NULL            -- all of them: base64 of zstd of JSON lines
);
CREATE INDEX layer_changes_top ON layer_changes (top);

-- +goose Down
DROP TABLE layer_changes;
DROP TABLE layer_files;
