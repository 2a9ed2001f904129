-- The token server that had the password of the store's account at a registry first, as host or host:port. No other one gets it.
ALTER TABLE registries ADD COLUMN robot_realm TEXT;
