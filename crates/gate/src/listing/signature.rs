//! A signature that is made when it is first asked for: with an RSA key each takes some milliseconds, and clients ask for one of four.

use std::sync::{Arc, OnceLock};

use flatpass_ostree::signature_file;

use super::IndexSigner;
use crate::answer::Body;
use crate::disk::Disk;
use crate::moment::Moment;
use crate::refusal::Refusal;
use crate::resource::Resource;

/// What a signature adds to the memory of its file, in bytes: those of the largest key that is usual, 4096 bits of RSA.
pub(super) const SIGNATURE_BYTES: u64 = 1024;

/// Signs one file.
#[derive(Debug)]
pub(super) struct Signature {
    signer: Arc<dyn IndexSigner>,
    message: Arc<Resource>,
    at: Moment,
    made: OnceLock<Result<Arc<Resource>, Refusal>>,
}

impl Signature {
    /// Of that file, made at that time.
    pub(super) fn new(signer: &Arc<dyn IndexSigner>, message: Arc<Resource>, at: Moment) -> Self {
        Self { signer: Arc::clone(signer), message, at, made: OnceLock::new() }
    }

    /// The signature as ostree keeps it in a file. One that cannot be made is not tried again for this file.
    ///
    /// # Errors
    /// [`Refusal::WouldWait`] on a thread that may not compute for so long, [`Refusal::Unreadable`] when the key does not sign.
    pub(super) fn file(&self, disk: Disk) -> Result<Arc<Resource>, Refusal> {
        if disk == Disk::Cached && self.made.get().is_none() {
            return Err(Refusal::WouldWait);
        }
        let Body::Bytes(message) = self.message.body(0, self.message.size()) else {
            return Err(Refusal::Unreadable);
        };
        let sign = || match self.signer.sign(&message, self.at.unix()) {
            Ok(signature) => Ok(Arc::new(Resource::made(signature_file(&[signature])))),
            Err(error) => {
                tracing::error!(error, "an index cannot be signed");
                Err(Refusal::Unreadable)
            }
        };
        self.made.get_or_init(sign).clone()
    }
}
