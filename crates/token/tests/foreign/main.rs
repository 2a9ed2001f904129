//! Tokens of somebody else, and reference tokens: what a verifier takes when it has to ask. Threats 1 and 4.

mod asking;
mod claims;
mod introspection;
mod issuer;
mod keys;
mod rotation;
