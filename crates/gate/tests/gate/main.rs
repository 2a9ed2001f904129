//! The gate through its public door: real repositories, real TCP, raw requests.

mod leaks;
mod shop;
mod wire;
