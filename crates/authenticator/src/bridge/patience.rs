//! A connection that does not wait for ever for its reader.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A reader that takes less than this in the time it is given has stopped, as far as we care.
const ENOUGH_BYTES: usize = 16 * 1024;

/// A stream whose writes fail once the other side has taken next to nothing for `limit`. Only time spent waiting for
/// the other side counts, not time in which there is nothing to write.
#[derive(Debug)]
pub(super) struct Impatient<S> {
    inner: S,
    limit: Duration,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    end: Pin<Box<Sleep>>,
    taken: usize,
}

impl<S> Impatient<S> {
    /// Wraps a stream.
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, waiting: None }
    }

    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                if let Some(waiting) = &mut self.waiting {
                    waiting.taken += count;
                    if waiting.taken >= ENOUGH_BYTES {
                        self.waiting = None;
                    }
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let limit = self.limit;
                let waiting = self
                    .waiting
                    .get_or_insert_with(|| Waiting { end: Box::pin(tokio::time::sleep(limit)), taken: 0 });
                match waiting.end.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the client has stopped to read",
                    ))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            // It asks for something new, so it has read what came before.
            self.waiting = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_or_trickles_is_given_up_and_a_slow_writer_is_not() {
        let limit = Duration::from_secs(30);
        let (ours, _stopped) = tokio::io::duplex(64 * 1024);
        let mut ours = Impatient::new(ours, limit);
        let error = ours.write_all(&[0; 1024 * 1024]).await.expect_err("given up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (ours, mut trickling) = tokio::io::duplex(64 * 1024);
        let mut ours = Impatient::new(ours, limit);
        let reader = tokio::spawn(async move {
            let mut byte = [0];
            while trickling.read_exact(&mut byte).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert!(ours.write_all(&[0; 1024 * 1024]).await.is_err(), "a byte each second is no reading");
        reader.abort();

        // A reader that is quick, behind a source that is slow: hours go by between the bursts.
        let (ours, mut quick) = tokio::io::duplex(64 * 1024);
        let mut ours = Impatient::new(ours, limit);
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            quick.read_to_end(&mut all).await.expect("read");
            all.len()
        });
        for _ in 0..5 {
            ours.write_all(&[0; 100 * 1024]).await.expect("written");
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        drop(ours);
        assert_eq!(reader.await.expect("no panic"), 500 * 1024);
    }
}
