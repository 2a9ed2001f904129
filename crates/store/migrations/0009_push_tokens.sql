-- Whether an access token may use its account's role in the repo: push, and delete. Those in remotes' addresses never may, and neither
-- may any that was made before there was the choice.
ALTER TABLE access_tokens ADD COLUMN may_push BIGINT NOT NULL DEFAULT 0 CHECK (may_push IN (0, 1));
