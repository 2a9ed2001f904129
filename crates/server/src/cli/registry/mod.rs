//! Repos whose content is OCI images: where they are, what a registry must be told, who may write to it.

pub(super) mod add;
pub(super) mod certificates;
pub(super) mod change;
pub(super) mod location;
pub(super) mod options;
pub(super) mod role;
pub(super) mod settings;
