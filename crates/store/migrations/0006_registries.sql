-- A repo is an OSTree repository on this machine, an OCI image layout on this machine, or images in a container registry. The last has
-- a row in registries, and no path.
ALTER TABLE repos ADD COLUMN kind TEXT NOT NULL DEFAULT 'ostree' CHECK (kind IN ('ostree', 'oci-layout', 'registry'));

CREATE TABLE registries (
    repo TEXT PRIMARY KEY REFERENCES repos (name) ON DELETE CASCADE,
    url TEXT NOT NULL,
    namespace TEXT,
    -- A JSON list of names; NULL is what the registry's catalog lists.
    repositories TEXT,
    access TEXT NOT NULL CHECK (access IN ('realm', 'broker', 'none')),
    service TEXT NOT NULL,
    robot_user TEXT,
    sealed_robot_password TEXT,
    webhook_hash TEXT,
    CHECK ((robot_user IS NULL) = (sealed_robot_password IS NULL))
);
CREATE INDEX registries_service ON registries (service);

-- Who may write to a registry that trusts this store's tokens. What may be read is a matter of entitlements.
CREATE TABLE repo_roles (
    repo TEXT NOT NULL REFERENCES repos (name) ON DELETE CASCADE,
    account_id TEXT REFERENCES accounts (id) ON DELETE CASCADE,
    group_id TEXT REFERENCES groups (id),
    role TEXT NOT NULL CHECK (role IN ('publisher', 'operator')),
    created_at BIGINT NOT NULL,
    CHECK ((account_id IS NULL) <> (group_id IS NULL))
);
CREATE UNIQUE INDEX repo_roles_accounts ON repo_roles (repo, account_id) WHERE account_id IS NOT NULL;
CREATE UNIQUE INDEX repo_roles_groups ON repo_roles (repo, group_id) WHERE group_id IS NOT NULL;
