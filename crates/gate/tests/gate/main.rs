//! The gate through its public door: real repositories, real TCP, raw requests.

mod freshness;
mod generated;
mod http;
mod lanes;
mod leaks;
mod listing;
mod members;
mod objects;
mod outsiders;
mod private;
mod rights;
mod shop;
mod wire;
