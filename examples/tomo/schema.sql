-- The tables of Tomo at schema version 3. Their columns are the fields of the
-- records, so the library finds a collection by the name of its table.
-- References are checked at the end of a transaction: a restore may write the
-- parts of a cycle in any order.

CREATE TABLE servers (
    id             TEXT PRIMARY KEY NOT NULL,
    name           TEXT NOT NULL,
    description    TEXT,
    host           TEXT NOT NULL,
    port           INTEGER NOT NULL DEFAULT 22,
    user           TEXT NOT NULL,
    auth_method    TEXT NOT NULL,
    password       TEXT,
    private_key    TEXT,
    passphrase     TEXT,
    host_key       TEXT,
    jump_server_id TEXT REFERENCES servers (id) DEFERRABLE INITIALLY DEFERRED,
    tags           JSON,
    created_at     TEXT,
    updated_at     TEXT
);

CREATE TABLE repositories (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    url        TEXT NOT NULL,
    type       TEXT NOT NULL DEFAULT 'git',
    branch     TEXT,
    enabled    BOOLEAN NOT NULL DEFAULT TRUE,
    token      TEXT,
    priority   INTEGER,
    last_sync  TEXT,
    created_at TEXT
);

CREATE TABLE applications (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    server_id     TEXT NOT NULL REFERENCES servers (id) DEFERRABLE INITIALLY DEFERRED,
    repository_id TEXT REFERENCES repositories (id) DEFERRABLE INITIALLY DEFERRED,
    compose       TEXT NOT NULL,
    env           JSON,
    domains       JSON,
    status        TEXT,
    auto_update   BOOLEAN,
    created_at    TEXT,
    updated_at    TEXT
);

-- One row a setting; its value is JSON.
CREATE TABLE settings (
    key   TEXT PRIMARY KEY NOT NULL,
    value JSON NOT NULL
);

CREATE TABLE users (
    id            TEXT PRIMARY KEY NOT NULL,
    username      TEXT NOT NULL UNIQUE,
    email         TEXT,
    password_hash TEXT NOT NULL,
    totp_secret   TEXT,
    role          TEXT NOT NULL,
    disabled      BOOLEAN,
    created_at    TEXT,
    last_login    TEXT
);

CREATE TABLE preferences (
    user_id    TEXT PRIMARY KEY NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    theme      TEXT,
    language   TEXT,
    timezone   TEXT,
    dashboard  JSON,
    updated_at TEXT
);

CREATE TABLE logs (
    id        INTEGER PRIMARY KEY,
    time      TEXT NOT NULL,
    level     TEXT NOT NULL,
    server_id TEXT, -- may be gone: a log outlives its server
    message   TEXT NOT NULL,
    fields    JSON
);
CREATE INDEX applications_server ON applications (server_id);
CREATE INDEX applications_repository ON applications (repository_id);
CREATE INDEX servers_jump ON servers (jump_server_id);
