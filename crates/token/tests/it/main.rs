//! What the crate promises, through its public door.

mod access;
mod arbitrary_bytes;
mod cache;
mod flat_manager;
mod grants;
mod keys;
mod losses;
mod ref_names;
mod rotation;
mod secrets;
mod shop;
mod words;
