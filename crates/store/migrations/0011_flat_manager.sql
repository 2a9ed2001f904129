-- The flat-manager that publishes to a repo: what it calls the repo, and where it listens, if calls are passed through to it.
CREATE TABLE flat_managers (
    repo TEXT PRIMARY KEY REFERENCES repos (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    url TEXT
);

-- Secrets for HS256: flat-manager's own, for downloads, and the operator's, for update tokens. The one that began to sign last signs; one
-- before it is good until the last token has ended that it signed.
CREATE TABLE flat_manager_secrets (
    repo TEXT NOT NULL REFERENCES flat_managers (repo) ON DELETE CASCADE,
    purpose TEXT NOT NULL CHECK (purpose IN ('download', 'update')),
    fingerprint TEXT NOT NULL,
    sealed_secret TEXT NOT NULL,
    signs_from BIGINT NOT NULL,
    accepted_until BIGINT,
    PRIMARY KEY (repo, purpose, fingerprint)
);
