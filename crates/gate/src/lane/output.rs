//! Writing answers: what is small is gathered and goes out together, files are sent by the kernel where it can.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::fs::sendfile;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

use super::transport::Transport;
use super::watch::{Phase, Stop, Watch};
use crate::answer::{Answer, Body, FileBody};
use crate::disk::{Disk, DiskError, fill};
use crate::moment::Moment;
use crate::resource::read_piece;

/// Bodies up to this size are copied behind their heads, so that several answers leave in one write.
const COPY_BYTES: usize = 4 << 10;
/// So much gathered output is written without waiting for more.
const GATHER_BYTES: usize = 32 << 10;
/// So much of a file is sent in one go, if the socket takes it.
const FILE_CHUNK_BYTES: u64 = 2 << 20;
/// Pieces of a file that go through memory.
const PIECE_BYTES: u64 = 64 << 10;

/// Why a connection ends before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Stream(#[from] io::Error),
    #[error("waited too long: {0:?}")]
    Stopped(Stop),
    /// Too late to say it in words: the head is out.
    #[error("a file could not be read to its promised end: {0}")]
    File(DiskError),
}

/// What is still to be written, and what was.
#[derive(Debug)]
pub(crate) struct Output {
    gathered: Vec<u8>,
    date: DateField,
    /// Bytes that the stream took.
    sent: u64,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { gathered: Vec::new(), date: DateField::new(), sent: 0 }
    }

    /// Adds an answer. It is written at once when it is large, else by the next [`Output::flush`].
    pub(crate) async fn put<S: Transport>(
        &mut self,
        stream: &mut S,
        watch: &mut Watch,
        answer: Answer,
        now: Moment,
        close: bool,
    ) -> Result<(), Broken> {
        let (_, head, body) = answer.into_parts();
        self.gathered.extend_from_slice(&head);
        self.gathered.extend_from_slice(self.date.line(now));
        self.gathered.extend_from_slice(if close { b"Connection: close\r\n\r\n" } else { b"\r\n" });
        match body {
            Body::Empty => {}
            Body::Bytes(bytes) if bytes.len() <= COPY_BYTES => self.gathered.extend_from_slice(&bytes),
            Body::Bytes(bytes) => return self.write(stream, watch, &bytes).await,
            Body::File(file) => return self.write_file(stream, watch, &file).await,
        }
        if self.gathered.len() >= GATHER_BYTES {
            self.write(stream, watch, &[]).await?;
        }
        Ok(())
    }

    /// Writes all that was gathered.
    pub(crate) async fn flush<S: Transport>(
        &mut self,
        stream: &mut S,
        watch: &mut Watch,
    ) -> Result<(), Broken> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.write(stream, watch, &[]).await?;
        let sent = self.sent;
        poll_fn(|cx| {
            let flushed = Pin::new(&mut *stream).poll_flush(cx);
            or_stop(flushed, watch, cx, sent)
        })
        .await
    }

    /// Writes what was gathered and then `body`, in as few calls as the stream allows.
    async fn write<S: Transport>(
        &mut self,
        stream: &mut S,
        watch: &mut Watch,
        body: &[u8],
    ) -> Result<(), Broken> {
        let mut head = self.gathered.as_slice();
        let mut body = body;
        while !head.is_empty() || !body.is_empty() {
            let sent = self.sent;
            let count = poll_fn(|cx| {
                let stream = Pin::new(&mut *stream);
                let written = match (head, body) {
                    (head, []) => stream.poll_write(cx, head),
                    ([], body) => stream.poll_write(cx, body),
                    (head, body) => stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]),
                };
                or_stop(written, watch, cx, sent)
            })
            .await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.sent += count as u64;
            let of_head = count.min(head.len());
            head = head.get(of_head..).unwrap_or_default();
            body = body.get(count - of_head..).unwrap_or_default();
        }
        self.gathered.clear();
        Ok(())
    }

    async fn write_file<S: Transport>(
        &mut self,
        stream: &mut S,
        watch: &mut Watch,
        file: &FileBody,
    ) -> Result<(), Broken> {
        if let Some(tcp) = stream.plain_tcp() {
            self.write_with_more_to_come(tcp, watch).await?;
            return self.send_file(tcp, watch, file).await;
        }
        let mut at = file.range.start;
        while at < file.range.end {
            let length = PIECE_BYTES.min(file.range.end - at);
            let piece = piece(file, at, length).await.map_err(Broken::File)?;
            self.write(stream, watch, &piece).await?;
            at += length;
        }
        Ok(())
    }

    /// Writes the head of a file's answer, telling the kernel that more follows at once, so that it does not leave in a packet of its own.
    async fn write_with_more_to_come(&mut self, tcp: &TcpStream, watch: &mut Watch) -> Result<(), Broken> {
        let mut rest = self.gathered.as_slice();
        while !rest.is_empty() {
            let sent = self.sent;
            let count = poll_fn(|cx| {
                let written = poll_try(tcp, cx, || send(tcp, rest, SendFlags::MORE | SendFlags::NOSIGNAL));
                or_stop(written, watch, cx, sent)
            })
            .await?;
            self.sent += count as u64;
            rest = rest.get(count..).unwrap_or_default();
        }
        self.gathered.clear();
        Ok(())
    }

    /// Has the kernel send a file. What it is to send is first made sure to be in memory, or brought there by a thread that may wait.
    async fn send_file(&mut self, tcp: &TcpStream, watch: &mut Watch, file: &FileBody) -> Result<(), Broken> {
        let mut at = file.range.start;
        let mut in_memory = at;
        while at < file.range.end {
            let end = file.range.end.min(at.saturating_add(FILE_CHUNK_BYTES));
            if in_memory < end {
                let next = file.range.end.min(in_memory.saturating_add(FILE_CHUNK_BYTES));
                if !is_in_memory(file, in_memory, next) {
                    bring_into_memory(file, in_memory, next).await.map_err(Broken::File)?;
                }
                in_memory = next;
            }
            let (sent, length) = (self.sent, usize::try_from(end - at).unwrap_or(usize::MAX));
            let count = poll_fn(|cx| {
                let written = poll_try(tcp, cx, || sendfile(tcp, &*file.fd, Some(&mut at), length));
                or_stop(written, watch, cx, sent)
            })
            .await?;
            if count == 0 {
                return Err(Broken::File(DiskError::Changing));
            }
            self.sent += count as u64;
        }
        Ok(())
    }
}

/// Tries a system call on the socket whenever it takes bytes.
fn poll_try(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match tcp.try_io(Interest::WRITABLE, || call().map_err(io::Error::from)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result),
        }
    }
}

/// A write that has to wait also waits for the watch.
fn or_stop<T>(
    written: Poll<io::Result<T>>,
    watch: &mut Watch,
    cx: &mut Context<'_>,
    sent: u64,
) -> Poll<Result<T, Broken>> {
    match written {
        Poll::Ready(result) => Poll::Ready(result.map_err(Broken::from)),
        Poll::Pending => watch.poll(cx, Phase::Write, sent).map(|stop| Err(Broken::Stopped(stop))),
    }
}

/// Whether the first and the last byte of a chunk can be read without waiting. The kernel reads files ahead in larger pieces, so
/// what lies between is nearly always there too; file systems that cannot tell are taken to be fast.
fn is_in_memory(file: &FileBody, start: u64, end: u64) -> bool {
    [start, end.saturating_sub(1)].into_iter().all(|at| {
        let read = preadv2(&*file.fd, &mut [IoSliceMut::new(&mut [0])], at, ReadWriteFlags::NOWAIT);
        read != Err(Errno::AGAIN)
    })
}

async fn bring_into_memory(file: &FileBody, start: u64, end: u64) -> Result<(), DiskError> {
    let file = file.clone();
    let read = spawn_blocking(move || {
        let mut scratch = vec![0; 64 << 10];
        let mut at = start;
        while at < end {
            match fill(&*file.fd, &mut scratch, at, Disk::Wait)? {
                0 => return Err(DiskError::Changing),
                count => at = at.saturating_add(count as u64),
            }
        }
        Ok(())
    });
    read.await.unwrap_or(Err(DiskError::Changing))
}

/// A piece of a file, from a thread that may wait if need be.
pub(crate) async fn piece(file: &FileBody, at: u64, length: u64) -> Result<Bytes, DiskError> {
    let length = usize::try_from(length).map_err(|_| DiskError::TooLarge(length))?;
    match read_piece(file, at, length, Disk::Cached) {
        Err(DiskError::WouldWait) => {
            let file = file.clone();
            let read = spawn_blocking(move || read_piece(&file, at, length, Disk::Wait));
            read.await.unwrap_or(Err(DiskError::Changing))
        }
        read => read,
    }
}

/// The `Date` field, written anew once a second (RFC 9110, 6.6.1).
#[derive(Debug)]
struct DateField {
    second: i64,
    line: String,
}

impl DateField {
    const fn new() -> Self {
        Self { second: i64::MIN, line: String::new() }
    }

    fn line(&mut self, now: Moment) -> &[u8] {
        let second = now.unix().0;
        if second != self.second {
            let since = std::time::Duration::from_secs(u64::try_from(second).unwrap_or_default());
            self.line =
                format!("Date: {}\r\n", httpdate::fmt_http_date(std::time::SystemTime::UNIX_EPOCH + since));
            self.second = second;
        }
        self.line.as_bytes()
    }
}
