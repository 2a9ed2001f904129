//! The kernel's table of TCP sockets: whatever it is, nobody is taken for the owner of a connection who is not named
//! as its holder.
#![no_main]

#[path = "../../crates/authenticator/src/bridge/tcp_table.rs"]
mod tcp_table;

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use tcp_table::{Listener, listener_on, owner_of, read_table};

fuzz_target!(|bytes: &[u8]| {
    let sockets = read_table(bytes).expect("memory can be read");
    assert!(sockets.len() <= bytes.iter().filter(|byte| **byte == b'\n').count(), "a line makes one socket");
    let bridge = SocketAddr::from(([127, 0, 0, 1], 0x1f90));
    for socket in &sockets {
        if let Some(owner) = owner_of(&sockets, socket.local, bridge) {
            let held = |one: &&tcp_table::TcpSocket| one.local == socket.local && one.remote == bridge && one.uid == owner;
            assert!(sockets.iter().filter(held).any(|one| one.inode != 0 && one.state == 1));
        }
    }
    if listener_on(&sockets, 0x1f90, 1000) == Listener::Ours {
        assert!(sockets.iter().any(|one| one.uid == 1000 && one.inode != 0 && one.state == 10));
    }
});
