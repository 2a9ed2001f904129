//! A pull-only registry of our own: OCI image layouts on the disk behind the endpoints of the OCI distribution-spec 1.1.
//!
//! | module | does |
//! |---|---|
//! | `path` | raw request path -> what is asked for |
//! | `layout` | reads a layout: repositories, tags, manifests, who owns which blob |
//! | `inspector` | checks a blob's digest before it is first served |
//! | `gate` | one layout behind its policy |
//! | `lists` | tags and referrers |
//! | `refusal` | the registry's error format and challenges |
//! | `registry` | all layouts of a server, mounted at `/v2` |

mod gate;
mod inspector;
mod layout;
mod lists;
mod path;
mod refusal;
mod registry;

pub use gate::{LayoutGate, LayoutGateConfig};
pub use layout::{Layout, LayoutError, LayoutNote};
pub use path::{ImagePath, PathError, Wanted};
pub use registry::{Registry, RegistryConfig};
