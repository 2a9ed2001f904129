//! The pages that people see: one file for each.

pub(crate) mod account;
pub(crate) mod account_repo;
pub(crate) mod container_login;
pub(crate) mod flatpak_files;
pub(crate) mod group;
pub(crate) mod home;
pub(crate) mod join;
pub(crate) mod offer;
pub(crate) mod order;
pub(crate) mod rights;
pub(crate) mod sandbox;
pub(crate) mod sign_in;
pub(crate) mod sign_up;
pub(crate) mod sign_up_link;
pub(crate) mod style;
pub(crate) mod verify;
pub(crate) mod words;
