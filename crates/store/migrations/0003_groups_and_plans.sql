-- Who may see what: groups with members, plans, and entitlements that a group may hold or a plan may spell out.
-- Rights that end leave a tombstone (removed_at, revoked_at): a gate learns from it which tokens to refuse, also after a restart.

ALTER TABLE accounts ADD COLUMN kind TEXT NOT NULL DEFAULT 'person' CHECK (kind IN ('person', 'robot'));
ALTER TABLE accounts ADD COLUMN email_verified_at BIGINT;

-- One-time links that prove that an address is its account's.
CREATE TABLE email_verifications (
    secret_hash TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX email_verifications_account ON email_verifications (account_id);
CREATE INDEX email_verifications_expiry ON email_verifications (expires_at);

CREATE TABLE groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE UNIQUE INDEX groups_name ON groups (name) WHERE removed_at IS NULL;

-- One row for each time somebody was a member: who comes back has a second one.
CREATE TABLE group_members (
    id TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES groups (id),
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('owner', 'manager', 'member')),
    how TEXT NOT NULL CHECK (how IN ('invitation', 'domain', 'hand')),
    joined_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE UNIQUE INDEX group_members_present ON group_members (group_id, account_id) WHERE removed_at IS NULL;
CREATE INDEX group_members_account ON group_members (account_id, group_id);
CREATE INDEX group_members_removed ON group_members (removed_at) WHERE removed_at IS NOT NULL;

CREATE TABLE group_invitations (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL UNIQUE,
    group_id TEXT NOT NULL REFERENCES groups (id),
    role TEXT NOT NULL CHECK (role IN ('owner', 'manager', 'member')),
    email TEXT,
    max_uses BIGINT NOT NULL CHECK (max_uses > 0),
    uses BIGINT NOT NULL DEFAULT 0 CHECK (uses >= 0 AND uses <= max_uses),
    created_by TEXT REFERENCES accounts (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX group_invitations_group ON group_invitations (group_id);

-- Who proved an address in the domain is a member.
CREATE TABLE group_domains (
    group_id TEXT NOT NULL REFERENCES groups (id),
    domain TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, domain)
);
CREATE INDEX group_domains_domain ON group_domains (domain);

CREATE TABLE plans (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE UNIQUE INDEX plans_name ON plans (name) WHERE removed_at IS NULL;

CREATE TABLE plan_items (
    id TEXT PRIMARY KEY,
    plan_id TEXT NOT NULL REFERENCES plans (id),
    repo TEXT NOT NULL,
    app TEXT NOT NULL,
    branch TEXT,
    verbs TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE UNIQUE INDEX plan_items_present ON plan_items (plan_id, repo, app, COALESCE(branch, '')) WHERE removed_at IS NULL;
CREATE INDEX plan_items_plan ON plan_items (plan_id);

-- Still no reference to repos. Verbs of an entitlement to a plan narrow those of the plan's items.
CREATE TABLE entitlements_next (
    id TEXT PRIMARY KEY,
    account_id TEXT REFERENCES accounts (id) ON DELETE CASCADE,
    group_id TEXT REFERENCES groups (id),
    plan_id TEXT REFERENCES plans (id),
    repo TEXT,
    app TEXT,
    branch TEXT,
    verbs TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    upgrades_until BIGINT,
    source_kind TEXT NOT NULL CHECK (source_kind IN ('order', 'code', 'grant')),
    source_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    CHECK ((account_id IS NULL) <> (group_id IS NULL)),
    CHECK ((plan_id IS NULL AND repo IS NOT NULL AND app IS NOT NULL)
        OR (plan_id IS NOT NULL AND repo IS NULL AND app IS NULL AND branch IS NULL))
);
-- What somebody may download they may see in the list: that was so before there was a verb for it.
INSERT INTO entitlements_next
    (id, account_id, repo, app, verbs, starts_at, ends_at, source_kind, source_id, created_at, revoked_at)
SELECT id, account_id, repo, app, CASE WHEN verbs = '' THEN '' ELSE 'list ' || verbs END,
    starts_at, ends_at, source_kind, source_id, created_at, revoked_at
FROM entitlements;
DROP TABLE entitlements;
ALTER TABLE entitlements_next RENAME TO entitlements;
CREATE INDEX entitlements_account ON entitlements (account_id);
CREATE INDEX entitlements_group ON entitlements (group_id);
CREATE INDEX entitlements_plan ON entitlements (plan_id);
CREATE INDEX entitlements_revoked ON entitlements (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE UNIQUE INDEX entitlements_source ON entitlements (source_kind, source_id) WHERE source_kind <> 'grant';

-- The policy `objects`. Offers stand aside meanwhile: with the old table of repos they would be deleted.
CREATE TABLE offers_kept (
    repo TEXT NOT NULL,
    app_id TEXT NOT NULL,
    title TEXT NOT NULL,
    price_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
INSERT INTO offers_kept (repo, app_id, title, price_minor, currency, created_at, updated_at)
SELECT repo, app_id, title, price_minor, currency, created_at, updated_at FROM offers;
DROP TABLE offers;
CREATE TABLE repos_next (
    name TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    policy TEXT NOT NULL CHECK (policy IN ('open', 'refs', 'objects', 'private')),
    urls TEXT NOT NULL,
    open_token_types TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
INSERT INTO repos_next (name, path, policy, urls, open_token_types, created_at)
SELECT name, path, policy, urls, open_token_types, created_at FROM repos;
DROP TABLE repos;
ALTER TABLE repos_next RENAME TO repos;
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
INSERT INTO offers (repo, app_id, title, price_minor, currency, created_at, updated_at)
SELECT repo, app_id, title, price_minor, currency, created_at, updated_at FROM offers_kept;
DROP TABLE offers_kept;
