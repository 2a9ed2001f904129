//! Site licences and their devices.

use std::path::Path;

use flatpass_token::{AccessTable, UnixTime};

use crate::PeerError;
use crate::trust::StoreInfo;

pub(crate) fn devices(_folder: &Path, _info: &StoreInfo, _until: UnixTime) -> Result<AccessTable, PeerError> {
    Ok(AccessTable::new())
}
