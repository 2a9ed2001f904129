//! The authority through its public door: the real server on a real port, with a real database and repos that `ostree` and
//! `flatpak` made, and a browser that keeps cookies and follows links.

mod access_tokens;
mod broker;
mod browser;
mod device_grant;
mod flat_manager;
mod flat_manager_server;
mod flatpak_files;
mod forgery;
mod groups;
mod hosted_registry;
mod identity_provider;
mod issuers;
mod limits;
mod names;
mod oauth;
mod pages;
mod pass_through;
mod payment;
mod peers;
mod post;
mod private_repo;
mod ref_tokens;
mod reference_tokens;
mod registry_tokens;
mod rights;
mod robots;
mod rotation;
mod sample;
mod shop;
mod sign_up;
mod summary_tokens;
mod two_steps;
mod upgrades;
