-- What is known here of other registries' repositories, which the hub mirrors.

-- +goose Up
CREATE TABLE mirrored (
    repo    BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    ref     TEXT   NOT NULL,           -- a tag or a digest
    checked BIGINT NOT NULL,           -- when the other registry last said what it names
    used    BIGINT NOT NULL,           -- when somebody last asked for it, to the hour
    PRIMARY KEY (repo, ref)
);
CREATE INDEX mirrored_used ON mirrored (used);


-- Open uploads are counted when another one is opened.
CREATE INDEX uploads_repo ON uploads (repo);

-- +goose Down
DROP INDEX uploads_repo;
DROP TABLE mirrored;
