//! Bytes received and not yet read as requests.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::output::Broken;
use super::transport::Transport;
use super::watch::{Phase, Watch};

/// Room for the first read; several requests of a stock client fit in.
const FIRST_BYTES: usize = 4 << 10;

/// Bytes received and not yet read as requests. Grows to the limit of a head and no further.
#[derive(Debug)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
}

impl Input {
    /// An empty buffer that holds heads of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: vec![0; FIRST_BYTES.min(limit.max(1))], start: 0, end: 0, limit: limit.max(1) }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Forgets the first `count` bytes, which were a request.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether no more can be received before something is consumed.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= self.limit
    }

    /// What is left, for another reader.
    pub(crate) fn take(&mut self) -> Bytes {
        let rest = Bytes::copy_from_slice(self.bytes());
        self.consume(rest.len());
        rest
    }

    /// Receives more; gives the number of bytes, 0 at the end of the stream. `requests` counts those answered so far.
    pub(crate) async fn receive<S: Transport>(
        &mut self,
        stream: &mut S,
        watch: &mut Watch,
        requests: u64,
    ) -> Result<usize, Broken> {
        self.make_room();
        let phase = if self.end == self.start { Phase::Idle } else { Phase::Head };
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = poll_fn(|cx| {
            let mut room = ReadBuf::new(room);
            match Pin::new(&mut *stream).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(room.filled().len())),
                Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::from(error))),
                Poll::Pending => watch.poll(cx, phase, requests).map(|stop| Err(Broken::Stopped(stop))),
            }
        })
        .await?;
        self.end += count;
        Ok(count)
    }

    fn make_room(&mut self) {
        if self.end < self.buffer.len() {
            return;
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else {
            let larger = self.buffer.len().saturating_mul(2).min(self.limit);
            self.buffer.resize(larger, 0);
        }
    }
}
