//! Whose program is at the other end of a connection, or listens on a port.
//!
//! A loopback port is open to every user of the machine. The kernel knows the owner of each socket, so the bridge
//! asks it before it reads a byte, and the authenticator asks it before it hands out a token that will be sent to the
//! port.

use std::fs::File;
use std::io::{self, BufReader};
use std::net::SocketAddr;

pub use super::tcp_table::Listener;
use super::tcp_table::{TcpSocket, listener_on, owner_of, read_table};

/// The kernel's tables.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// The kernel is asked so many times: a table is not read in one go, and a line can be missed when others end
/// meanwhile.
const TRIES: usize = 3;

fn all_sockets() -> io::Result<Vec<TcpSocket>> {
    let mut sockets = Vec::new();
    for table in TABLES {
        match File::open(table) {
            Ok(file) => sockets.extend(read_table(BufReader::new(file))?),
            // A kernel without IPv6 has no second table.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table == TABLES[1] => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// The user of this process.
#[must_use]
pub fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the other end of a connection belongs to this user, or to root.
///
/// # Errors
/// If the kernel's tables cannot be read. Blocks for as long as that takes.
pub fn is_mine(peer: SocketAddr, local: SocketAddr) -> io::Result<bool> {
    for _ in 0..TRIES {
        if let Some(owner) = owner_of(&all_sockets()?, peer, local) {
            return Ok(owner == me() || owner == 0);
        }
    }
    Ok(false)
}

/// Who listens on a loopback port.
///
/// # Errors
/// If the kernel's tables cannot be read. Blocks for as long as that takes.
pub fn listener(port: u16) -> io::Result<Listener> {
    let mut found = Listener::Nobody;
    for _ in 0..TRIES {
        found = listener_on(&all_sockets()?, port, me());
        if found != Listener::Nobody {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_kernel_knows_this_very_process() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let local = listener.local_addr().expect("bound");
        assert_eq!(super::listener(local.port()).expect("read"), Listener::Ours);
        for to in [local, format!("[::ffff:127.0.0.1]:{}", local.port()).parse().expect("an address")] {
            let Ok(client) = std::net::TcpStream::connect(to) else { continue };
            let (_accepted, peer) = listener.accept().expect("accepted");
            let sockets = all_sockets().expect("read");
            assert_eq!(owner_of(&sockets, peer, local), Some(me()), "{to}");
            assert!(is_mine(peer, local).expect("read"));
            drop(client);
            assert!(!is_mine(peer, local).expect("read"), "closed by its program");
        }
    }
}
