-- A device that has no browser asks by a code that a person types elsewhere (RFC 8628). Both codes are kept as hashes only; the
-- short one's is keyed with the key file, since whoever has a plain hash of so few letters has the letters.
CREATE TABLE device_codes (
    device_hash TEXT PRIMARY KEY,
    user_hash TEXT NOT NULL UNIQUE,
    client_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    device_name TEXT NOT NULL,
    details TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    poll_seconds BIGINT NOT NULL,
    polled_at BIGINT,
    decision TEXT CHECK (decision IN ('allowed', 'denied')),
    account_id TEXT REFERENCES accounts (id) ON DELETE CASCADE,
    used_at BIGINT,
    device_id TEXT REFERENCES devices (id) ON DELETE CASCADE
);
CREATE INDEX device_codes_expiry ON device_codes (expires_at);

-- The secrets of robots (RFC 6749, section 4.4). Each is a device, which has its name, its times and its end.
CREATE TABLE robot_secrets (
    device_id TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    secret_hash TEXT NOT NULL UNIQUE
);

-- The public OpenPGP key that a repo is signed with, in base64, for the files that clients add it by.
ALTER TABLE repos ADD COLUMN gpg_key TEXT;

-- When and from where an access token was last used, by whichever of its secrets.
ALTER TABLE access_tokens ADD COLUMN last_used_at BIGINT;
ALTER TABLE access_tokens ADD COLUMN last_address TEXT NOT NULL DEFAULT '';
-- The device that made it, and takes it along when it is signed out. It may be forgotten before the access token is.
ALTER TABLE access_tokens ADD COLUMN made_by TEXT;
-- The secret before the last rotation, which goes on for a while, and whether the present one was used since.
ALTER TABLE access_tokens ADD COLUMN replaced_hash TEXT;
ALTER TABLE access_tokens ADD COLUMN replaced_at BIGINT;
ALTER TABLE access_tokens ADD COLUMN replaced_until BIGINT;
ALTER TABLE access_tokens ADD COLUMN secret_used_at BIGINT;
CREATE INDEX access_tokens_made_by ON access_tokens (made_by) WHERE made_by IS NOT NULL;
CREATE UNIQUE INDEX access_tokens_replaced ON access_tokens (replaced_hash) WHERE replaced_hash IS NOT NULL;
