CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    repo TEXT NOT NULL,
    app_id TEXT NOT NULL,
    title TEXT NOT NULL,
    price_minor BIGINT NOT NULL CHECK (price_minor > 0),
    currency TEXT NOT NULL,
    provider TEXT NOT NULL,
    provider_reference TEXT,
    state TEXT NOT NULL
        CHECK (state IN ('pending', 'paid', 'declined', 'cancelled', 'refund_due', 'refunded')),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX orders_account ON orders (account_id);
CREATE INDEX orders_state ON orders (state);
-- An account has at most one purchase of an app in progress, and pays for it at most once.
CREATE UNIQUE INDEX orders_one_pending ON orders (account_id, repo, app_id) WHERE state = 'pending';
CREATE UNIQUE INDEX orders_one_paid ON orders (account_id, repo, app_id) WHERE state = 'paid';
CREATE UNIQUE INDEX orders_reference ON orders (provider, provider_reference) WHERE provider_reference IS NOT NULL;

-- Every message of a payment provider that was acted on; a message that is here already changes nothing.
CREATE TABLE payment_events (
    provider TEXT NOT NULL,
    event_id TEXT NOT NULL,
    order_id TEXT NOT NULL REFERENCES orders (id),
    outcome TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (provider, event_id)
);

-- The ledger of the built-in sandbox provider: what a real provider would keep on its side.
CREATE TABLE sandbox_payments (
    reference TEXT PRIMARY KEY,
    order_id TEXT NOT NULL UNIQUE,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'paid', 'declined', 'cancelled', 'refunded')),
    created_at BIGINT NOT NULL,
    decided_at BIGINT
);
