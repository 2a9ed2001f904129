//! The store through its public door, on real database files.

mod accounts;
mod concurrency;
mod crash;
mod device_grant;
mod devices;
mod dump;
mod expansion;
mod files;
mod flat_manager;
mod groups;
mod keys;
mod listings;
mod migration;
mod orders;
mod registries;
mod rights;
mod robots;
mod scene;
