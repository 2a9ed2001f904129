//! Reads the kernel's tables of TCP sockets, `/proc/net/tcp` and `tcp6` (proc(5)), and what they say of a connection
//! or a port.

use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line that is read, in bytes. The kernel's have 150 or 178 (`TMPSZ` in `tcp_ipv4.c`).
const MAX_LINE_BYTES: usize = 512;

/// `TCP_ESTABLISHED` in the kernel's `tcp_states.h`.
const ESTABLISHED: u8 = 0x01;
/// `TCP_LISTEN`.
const LISTEN: u8 = 0x0a;

/// One line of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSocket {
    /// This end; an IPv4 address in IPv6's clothes is given as IPv4.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The state, as in `tcp_states.h`.
    pub state: u8,
    /// The user that made it. 0 also when no program holds it any more.
    pub uid: u32,
    /// The inode by which a program holds it; 0 if none does.
    pub inode: u64,
}

impl TcpSocket {
    /// Reads a line of `/proc/net/tcp` or `tcp6`. `None` for the header and for what is not such a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let number = fields.next()?.strip_suffix(':')?;
        number.parse::<u64>().ok()?;
        let local = read_address(fields.next()?)?;
        let remote = read_address(fields.next()?)?;
        let state = read_hex(fields.next()?, 2)?;
        // Queues, timer, retransmits.
        let mut fields = fields.skip(3);
        let uid = fields.next()?.parse().ok()?;
        let _timeout = fields.next()?;
        let inode = fields.next()?.parse().ok()?;
        Some(Self { local, remote, state: u8::try_from(state).ok()?, uid, inode })
    }
}

/// An address as the kernel prints it: each 32-bit word of it as a number of this machine's byte order, then the
/// port.
fn read_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::try_from(read_hex(port, 4)?).ok()?;
    let word = |at: usize| Some(read_hex(host.get(at * 8..at * 8 + 8)?, 8)?.to_ne_bytes());
    let address = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// A number of exactly so many hexadecimal digits.
fn read_hex(text: &str, digits: usize) -> Option<u32> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { u32::from_str_radix(text, 16).ok() } else { None }
}

/// The sockets of one table.
///
/// # Errors
/// The reader's. A line that is too long ends the table.
pub fn read_table(mut table: impl BufRead) -> io::Result<Vec<TcpSocket>> {
    let mut sockets = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut some = io::Read::take(&mut table, MAX_LINE_BYTES as u64);
        if some.read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
            return Ok(sockets);
        }
        sockets.extend(std::str::from_utf8(&line).ok().and_then(TcpSocket::parse));
    }
}

/// The user at the other end of a connection that was accepted on `local` from `peer`; `None` if the kernel knows of
/// no program that holds that end open. A socket that its program has closed has no owner: the kernel prints user 0
/// for it.
#[must_use]
pub fn owner_of(sockets: &[TcpSocket], peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    sockets
        .iter()
        .find(|socket| {
            socket.local == peer && socket.remote == local && socket.state == ESTABLISHED && socket.inode != 0
        })
        .map(|socket| socket.uid)
}

/// Who listens on a loopback port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// A program of this user.
    Ours,
    /// Another user's.
    Foreign,
    /// Nobody.
    Nobody,
}

/// Who would be given a connection to `127.0.0.1:port`, if this user is `me`.
#[must_use]
pub fn listener_on(sockets: &[TcpSocket], port: u16, me: u32) -> Listener {
    let on = |address: IpAddr| {
        sockets.iter().filter(move |socket| {
            socket.state == LISTEN && socket.local == SocketAddr::new(address, port) && socket.inode != 0
        })
    };
    // The kernel prefers the socket with the exact address.
    let exact: Vec<u32> = on(Ipv4Addr::LOCALHOST.into()).map(|socket| socket.uid).collect();
    let any = on(Ipv4Addr::UNSPECIFIED.into()).chain(on(Ipv6Addr::UNSPECIFIED.into()));
    let owners = if exact.is_empty() { any.map(|socket| socket.uid).collect() } else { exact };
    match owners.as_slice() {
        [] => Listener::Nobody,
        owners if owners.iter().all(|owner| *owner == me) => Listener::Ours,
        _ => Listener::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by a little-endian kernel.
    #[cfg(target_endian = "little")]
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n\
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0000000000000000 100 0 0 10 0\n\
   1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 31338 1 0000000000000000 100 0 0 10 0\n\
   2: 0100007F:A001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 31339 1 0000000000000000 20 4 30 10 -1\n\
   3: 0100007F:1F90 0100007F:A001 01 00000000:00000000 00:00000000 00000000  1000        0 31340 1 0000000000000000 20 4 30 10 -1\n\
   4: 0100007F:A002 0100007F:1F90 06 00000000:00000000 03:00000176 00000000     0        0 0 3 0000000000000000\n\
   5: 0100007F:A003 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 0 3 0000000000000000\n\
   6: 0000000000000000FFFF00000100007F:A004 0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 00:00000000 00000000 65534 0 31341 1 0\n\
   7: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 31342 1 0\n";

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_owner_of_the_other_end_is_found_and_a_closed_end_has_none() {
        let sockets = read_table(TABLE.as_bytes()).expect("read");
        assert_eq!(sockets.len(), 8);
        let owner = |port: u16| owner_of(&sockets, at(port), at(0x1f90));
        assert_eq!(owner(0xa001), Some(1000));
        assert_eq!(owner(0xa002), None, "a connection in TIME_WAIT is printed with user 0");
        assert_eq!(owner(0xa003), None, "so is one that no program holds");
        assert_eq!(owner(0xa004), Some(65534), "an IPv6 socket that speaks IPv4");
        assert_eq!(owner(0xa005), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_owner_of_a_port_is_found() {
        let mut sockets = read_table(TABLE.as_bytes()).expect("read");
        assert_eq!(listener_on(&sockets, 0x1f90, 1000), Listener::Ours);
        assert_eq!(listener_on(&sockets, 0x1f90, 1001), Listener::Foreign);
        assert_eq!(listener_on(&sockets, 0x1f90, 0), Listener::Foreign);
        assert_eq!(listener_on(&sockets, 0x1f91, 1000), Listener::Foreign);
        assert_eq!(listener_on(&sockets, 0x1f92, 1000), Listener::Nobody, "::1 is not 127.0.0.1");
        assert_eq!(
            listener_on(&sockets, 0xa001, 1000),
            Listener::Nobody,
            "an open connection is no listener"
        );
        // Beside a socket for all addresses the exact one is given the connection.
        sockets.push(TcpSocket { local: at(0x1f91), uid: 1000, ..sockets[0] });
        assert_eq!(listener_on(&sockets, 0x1f91, 1000), Listener::Ours);
        sockets.push(TcpSocket { uid: 1001, ..sockets[0] });
        assert_eq!(listener_on(&sockets, 0x1f90, 1000), Listener::Foreign);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_read_and_what_is_read_can_be_written(bytes: Vec<u8>, uid: u32, inode: u64, port: u16) {
            let _any = read_table(&bytes[..]).expect("read");
            let host = u32::from_ne_bytes([127, 0, 0, 1]);
            let line = format!("9: {host:08X}:{port:04X} 00000000:0000 0A 0:0 0:0 0 {uid} 0 {inode} 1 0 100 0\n");
            let socket = TcpSocket::parse(&line).expect("a line");
            proptest::prop_assert_eq!((socket.local, socket.uid, socket.inode), (at(port), uid, inode));
        }
    }
}
