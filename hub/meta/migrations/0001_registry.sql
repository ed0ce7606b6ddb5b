-- What the registry knows. Times are microseconds since 1970 (UTC); truths are 0 and 1.
-- The statements are those that SQLite and PostgreSQL both take.

-- +goose Up
CREATE TABLE repositories (
    id          BIGINT PRIMARY KEY,
    name        TEXT   NOT NULL UNIQUE,
    owner       TEXT   NOT NULL,               -- a user or an organisation: the name's first part
    public      BIGINT NOT NULL DEFAULT 0,
    description TEXT   NOT NULL DEFAULT '',
    readme      TEXT   NOT NULL DEFAULT '',
    created     BIGINT NOT NULL,
    updated     BIGINT NOT NULL,               -- when a tag or a manifest last came or went
    pulls       BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX repositories_owner ON repositories (owner);

CREATE TABLE manifests (
    repo          BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest        TEXT   NOT NULL,
    media_type    TEXT   NOT NULL,
    size          BIGINT NOT NULL,
    raw           TEXT   NOT NULL,
    subject       TEXT   NOT NULL DEFAULT '',   -- the digest that it refers to
    artifact_type TEXT   NOT NULL DEFAULT '',
    annotations   TEXT   NOT NULL DEFAULT '',   -- JSON
    config_digest TEXT   NOT NULL DEFAULT '',
    pushed        BIGINT NOT NULL,
    PRIMARY KEY (repo, digest)
);
CREATE INDEX manifests_subject ON manifests (repo, subject);

-- The blobs and the manifests that a manifest names and that the registry keeps.
CREATE TABLE refs (
    repo     BIGINT NOT NULL,
    manifest TEXT   NOT NULL,
    digest   TEXT   NOT NULL,
    PRIMARY KEY (repo, manifest, digest),
    FOREIGN KEY (repo, manifest) REFERENCES manifests (repo, digest) ON DELETE CASCADE
);
CREATE INDEX refs_digest ON refs (repo, digest);

CREATE TABLE tags (
    repo    BIGINT NOT NULL,
    name    TEXT   NOT NULL,
    digest  TEXT   NOT NULL,
    updated BIGINT NOT NULL,
    by_user TEXT   NOT NULL DEFAULT '',
    PRIMARY KEY (repo, name),
    FOREIGN KEY (repo, digest) REFERENCES manifests (repo, digest) ON DELETE CASCADE
);
CREATE INDEX tags_digest ON tags (repo, digest);

-- A blob that is dying is being removed from the storage: nobody may link it any more.
CREATE TABLE blobs (
    digest  TEXT   PRIMARY KEY,
    size    BIGINT NOT NULL,
    created BIGINT NOT NULL,
    touched BIGINT NOT NULL,
    dying   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX blobs_touched ON blobs (touched);

CREATE TABLE repo_blobs (
    repo    BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest  TEXT   NOT NULL REFERENCES blobs (digest),
    touched BIGINT NOT NULL,
    PRIMARY KEY (repo, digest)
);
CREATE INDEX repo_blobs_digest ON repo_blobs (digest);
CREATE INDEX repo_blobs_touched ON repo_blobs (touched);

CREATE TABLE uploads (
    id        TEXT   PRIMARY KEY,
    repo      BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    size      BIGINT NOT NULL DEFAULT 0,        -- bytes that are kept so far
    algorithm TEXT   NOT NULL,
    state     TEXT   NOT NULL DEFAULT '',       -- of the hash over them, base64
    started   BIGINT NOT NULL,
    touched   BIGINT NOT NULL,
    owner     TEXT   NOT NULL DEFAULT ''
);
CREATE INDEX uploads_touched ON uploads (touched);

-- +goose Down
DROP TABLE uploads;
DROP TABLE repo_blobs;
DROP TABLE blobs;
DROP TABLE tags;
DROP TABLE refs;
DROP TABLE manifests;
DROP TABLE repositories;
