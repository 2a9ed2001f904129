//! Peers of a real store: who gets what from them, with the store and without it, and what a hostile one could do with what it is shown.

mod filling;
mod objects;
mod place;
mod sites;
mod tokens;
