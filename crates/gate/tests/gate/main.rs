//! The gate through its public door: real repositories, real TCP, raw requests.

mod asking;
mod flat_manager;
mod freshness;
mod generated;
mod http;
mod images;
mod indexes;
mod lanes;
mod layouts;
mod leaks;
mod listing;
mod members;
mod objects;
mod outsiders;
mod private;
mod ration;
mod registry;
mod registry_rights;
mod rights;
mod shop;
mod wire;
