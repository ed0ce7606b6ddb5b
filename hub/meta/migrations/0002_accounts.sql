-- Who uses the hub. Times are microseconds since 1970 (UTC); names are lower case.
-- The statements are those that SQLite and PostgreSQL both take.

-- +goose Up
ALTER TABLE repositories ADD COLUMN stars BIGINT NOT NULL DEFAULT 0;

-- Users and organisations share their names.
CREATE TABLE names (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL                       -- user or org
);

CREATE TABLE users (
    name     TEXT   PRIMARY KEY REFERENCES names (name) ON DELETE CASCADE,
    title    TEXT   NOT NULL DEFAULT '',     -- how they want to be called
    password TEXT   NOT NULL,                -- argon2id, as a PHC string
    epoch    BIGINT NOT NULL,                -- when the password was set: what was given out before is void
    created  BIGINT NOT NULL
);

CREATE TABLE organisations (
    name        TEXT   PRIMARY KEY REFERENCES names (name) ON DELETE CASCADE,
    title       TEXT   NOT NULL DEFAULT '',
    description TEXT   NOT NULL DEFAULT '',
    created     BIGINT NOT NULL
);

CREATE TABLE members (
    org       TEXT   NOT NULL REFERENCES organisations (name) ON DELETE CASCADE,
    user_name TEXT   NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    role      TEXT   NOT NULL,               -- reader, writer, admin, owner
    created   BIGINT NOT NULL,
    PRIMARY KEY (org, user_name)
);
CREATE INDEX members_user ON members (user_name);

CREATE TABLE tokens (
    id        TEXT   PRIMARY KEY,
    hash      TEXT   NOT NULL UNIQUE,        -- SHA-256 of the secret
    kind      TEXT   NOT NULL,               -- access (made by the user) or refresh (of a log-in)
    user_name TEXT   NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    parent    TEXT   REFERENCES tokens (id) ON DELETE CASCADE, -- the access token that logged in
    title     TEXT   NOT NULL DEFAULT '',
    scopes    TEXT   NOT NULL DEFAULT '',    -- level:pattern, with spaces between
    created   BIGINT NOT NULL,
    expires   BIGINT NOT NULL DEFAULT 0,     -- 0: never
    used      BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX tokens_user ON tokens (user_name);
CREATE INDEX tokens_parent ON tokens (parent);

CREATE TABLE sessions (
    hash      TEXT   PRIMARY KEY,            -- SHA-256 of the cookie
    user_name TEXT   NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    created   BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    addr      TEXT   NOT NULL DEFAULT '',
    agent     TEXT   NOT NULL DEFAULT ''
);
CREATE INDEX sessions_user ON sessions (user_name);

CREATE TABLE stars (
    repo      BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    user_name TEXT   NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    created   BIGINT NOT NULL,
    PRIMARY KEY (repo, user_name)
);
CREATE INDEX stars_user ON stars (user_name);

-- Failed log-ins and the like, counted by who and from where, for a while.
CREATE TABLE attempts (
    name  TEXT   PRIMARY KEY,
    count BIGINT NOT NULL,
    since BIGINT NOT NULL
);

CREATE TABLE secrets (
    name    TEXT   PRIMARY KEY,
    value   TEXT   NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE audit (
    id     BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL,
    who    TEXT   NOT NULL,
    addr   TEXT   NOT NULL,
    owner  TEXT   NOT NULL,                  -- the user or organisation that it concerns
    action TEXT   NOT NULL,
    detail TEXT   NOT NULL DEFAULT ''
);
CREATE INDEX audit_owner ON audit (owner, id);

-- +goose Down
DROP TABLE audit;
DROP TABLE secrets;
DROP TABLE attempts;
DROP TABLE stars;
DROP TABLE sessions;
DROP TABLE tokens;
DROP TABLE members;
DROP TABLE organisations;
DROP TABLE users;
DROP TABLE names;
ALTER TABLE repositories DROP COLUMN stars;
