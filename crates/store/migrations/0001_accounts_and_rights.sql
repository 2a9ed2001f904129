-- Written for SQLite and PostgreSQL alike: TEXT and BIGINT only, times are seconds since 1970 UTC, lists are JSON in TEXT.
-- A column named *_hash holds the SHA-256 of a random secret, or an argon2id string; no secret itself is ever stored.

-- One row. Whatever changes what a gate may serve raises the counter, and running servers read it to reload.
CREATE TABLE changes (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    counter BIGINT NOT NULL
);
INSERT INTO changes (id, counter) VALUES (1, 1);

-- One row: a fingerprint of the key file, so that a wrong key file is noticed when the store is opened.
CREATE TABLE seal_check (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    fingerprint TEXT NOT NULL
);

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    name TEXT,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT,
    tokens_refused_until BIGINT
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    user_agent TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_account ON sessions (account_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- A device: one consent of one account to one client, which is one family of refresh tokens.
CREATE TABLE devices (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    last_address TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    revoked_because TEXT
);
CREATE INDEX devices_account ON devices (account_id);

CREATE TABLE authorization_codes (
    code_hash TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    code_challenge TEXT NOT NULL,
    scope TEXT NOT NULL,
    device_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    device_id TEXT REFERENCES devices (id) ON DELETE CASCADE
);
CREATE INDEX authorization_codes_expiry ON authorization_codes (expires_at);

CREATE TABLE refresh_tokens (
    token_hash TEXT PRIMARY KEY,
    device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    rotated_at BIGINT,
    successor_hash TEXT,
    superseded_at BIGINT
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (device_id);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);

-- Access tokens for the authority's own API.
CREATE TABLE api_tokens (
    token_hash TEXT PRIMARY KEY,
    device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX api_tokens_device ON api_tokens (device_id);
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at);

CREATE TABLE repos (
    name TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    policy TEXT NOT NULL CHECK (policy IN ('open', 'refs', 'private')),
    urls TEXT NOT NULL,
    open_token_types TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Long-lived secrets of one account for one repo: passwords for HTTP Basic.
CREATE TABLE access_tokens (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    repo TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX access_tokens_account ON access_tokens (account_id);
CREATE INDEX access_tokens_repo ON access_tokens (repo);

CREATE TABLE offers (
    repo TEXT NOT NULL REFERENCES repos (name) ON DELETE CASCADE,
    app_id TEXT NOT NULL,
    title TEXT NOT NULL,
    price_minor BIGINT NOT NULL CHECK (price_minor > 0),
    currency TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (repo, app_id)
);

-- No reference to repos: what people own outlives the removal and return of a repo.
CREATE TABLE entitlements (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    repo TEXT NOT NULL,
    app TEXT NOT NULL,
    verbs TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    source_kind TEXT NOT NULL CHECK (source_kind IN ('order', 'code', 'grant')),
    source_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX entitlements_account ON entitlements (account_id, repo);
-- One order or one redeemed code gives one entitlement, whatever runs at the same time.
CREATE UNIQUE INDEX entitlements_source ON entitlements (source_kind, source_id) WHERE source_kind <> 'grant';

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    active_from BIGINT NOT NULL,
    retired_at BIGINT,
    expires_at BIGINT
);
