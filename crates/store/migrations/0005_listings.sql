-- A private repo whose index is made per person has a row. The key is an OpenPGP secret key, sealed; without one nothing is signed.
CREATE TABLE repo_listings (
    repo TEXT PRIMARY KEY REFERENCES repos (name) ON DELETE CASCADE,
    sealed_key TEXT,
    created_at BIGINT NOT NULL
);
