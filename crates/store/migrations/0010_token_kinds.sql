-- Which kind of token opens a repo, and since when: tokens of the kind before are good for as long as the longest of them lives.
ALTER TABLE repos ADD COLUMN token_kind TEXT NOT NULL DEFAULT 'jwt'
    CHECK (token_kind IN ('jwt', 'opaque', 'flat-manager', 'issuer'));
ALTER TABLE repos ADD COLUMN token_issuer TEXT;
ALTER TABLE repos ADD COLUMN token_kind_before TEXT;
ALTER TABLE repos ADD COLUMN token_kind_since BIGINT NOT NULL DEFAULT 0;

-- Somebody else whose tokens are accepted: an OAuth or OpenID Connect issuer, such as a company's identity provider.
CREATE TABLE issuers (
    name TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    -- Where its keys are; NULL is what its metadata says.
    jwks_url TEXT,
    -- Where it says what a token is. With it tokens are not read here at all.
    introspection_url TEXT,
    client_id TEXT,
    sealed_client_secret TEXT,
    -- NULL is the URL of the repo.
    audience TEXT,
    created_at BIGINT NOT NULL,
    CHECK ((introspection_url IS NULL) = (client_id IS NULL)),
    CHECK ((client_id IS NULL) = (sealed_client_secret IS NULL))
);

-- What claims of its tokens open. A claim that is NULL is every token of the issuer; a repo that is NULL is every repo with the issuer.
CREATE TABLE issuer_rules (
    id TEXT PRIMARY KEY,
    issuer TEXT NOT NULL REFERENCES issuers (name) ON DELETE CASCADE,
    repo TEXT REFERENCES repos (name) ON DELETE CASCADE,
    claim TEXT,
    value TEXT,
    grant_json TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CHECK ((claim IS NULL) = (value IS NULL))
);
CREATE INDEX issuer_rules_issuer ON issuer_rules (issuer);

-- Reference tokens: secrets that say nothing themselves. Only their hashes are kept, with what they open.
CREATE TABLE ref_tokens (
    token_hash TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    repo TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- The device that it was given to. It may be forgotten before the token is.
    device_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    grants TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX ref_tokens_expiry ON ref_tokens (expires_at);
CREATE INDEX ref_tokens_revoked ON ref_tokens (revoked_at) WHERE revoked_at IS NOT NULL;

-- Robots that may ask what a token of a repo is (RFC 7662): gates and resource servers elsewhere.
CREATE TABLE introspectors (
    repo TEXT NOT NULL REFERENCES repos (name) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (repo, account_id)
);
