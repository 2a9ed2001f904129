//! The index that Flatpak reads of a container registry, answered from memory.
//!
//! | module | does |
//! |---|---|
//! | `path` | raw path below the mount -> what is asked for |
//! | `answers` | answers that were made before, plain and compressed |
//! | `gate` | one index behind its policy, mounted at `/repo/NAME` |
//! | `secret_paths` | the same below `/i/SECRET/NAME` |

mod answers;
mod gate;
mod path;
mod secret_paths;

pub use gate::{IndexGate, IndexGateConfig};
pub use secret_paths::SecretPaths;
