//! Bodies on their way through, piece by piece, with an eye on whether anything moves.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// Uploads and answers may last for hours, but not without a byte for so long.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// The most that one call may bring.
const MOST_BYTES: u64 = 64 << 30;

/// How many pieces of a body have passed.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Ready when nothing has passed for a while.
    pub(super) async fn stalled(&self) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(SILENCE).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

/// A body that is counted. It can be shared between threads, though it is only ever read by one. What is kept with it is dropped with it.
pub(super) struct Streamed<K> {
    body: Mutex<UnsyncBoxBody<Bytes, io::Error>>,
    progress: Progress,
    bytes: u64,
    silence: Option<Pin<Box<Sleep>>>,
    gives_up: bool,
    _kept: K,
}

impl<K> Streamed<K> {
    pub(super) fn new<B>(body: B, progress: Progress, kept: K) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = Mutex::new(body.map_err(io::Error::other).boxed_unsync());
        Self { body, progress, bytes: 0, silence: None, gives_up: false, _kept: kept }
    }

    /// Breaks off by itself when nothing comes for a while.
    pub(super) fn giving_up(self) -> Self {
        Self { gives_up: true, ..self }
    }
}

impl<K: Unpin> Body for Streamed<K> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let body = this.body.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending if this.gives_up => {
                let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENCE)));
                silence.as_mut().poll(cx).map(|()| Some(Err(io::ErrorKind::TimedOut.into())))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => {
                this.silence = None;
                this.progress.note();
                if let Some(Ok(frame)) = &frame {
                    this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if this.bytes > MOST_BYTES {
                        return Poll::Ready(Some(Err(io::ErrorKind::FileTooLarge.into())));
                    }
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.lock().is_ok_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.lock().map(|body| body.size_hint()).unwrap_or_default()
    }
}
