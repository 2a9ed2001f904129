//! The authenticator: the D-Bus service on a person's machine that Flatpak asks for tokens, and the person's command.
//!
//! A request walks in a straight line: [`dbus`] translates Flatpak's call; [`session`] decides what it takes (a token
//! in memory, the authority, a web flow); [`authority`] speaks HTTP; [`webflow`] has the browser's answer;
//! [`credentials`] keeps the sign-in. For a remote whose apps are in a container registry, [`registry`] decides whose
//! way it is, the store's or the registry's own, and goes the latter. [`bridge`] is a client of all that: it fetches private indexes for Flatpak.
//! [`cli`] is the command; for it, [`installation`] changes the secret in a remote's URL, [`peers`] finds servers of the local network, and [`private_bus`] and
//! [`robot_file`] serve machines that have no session bus.
//!
//! What a client of the D-Bus interface may rely on:
//! - the request's object is at the path that the client computes from its own name and its handle token;
//! - signals are broadcast; `Webflow` is followed by `WebflowDone` before the request's one `Response`, unless the
//!   client closed the request;
//! - a client that leaves the bus is forgotten; a client that stays always gets its `Response`.
//!
//! What it may not rely on: that a token stays a secret of its own. Every program on the session bus can see it,
//! so authorities keep ref tokens short-lived.

pub mod authority;
pub mod bridge;
pub mod cli;
pub mod credentials;
pub mod dbus;
pub mod installation;
pub mod peers;
pub mod private_bus;
pub mod registry;
pub mod robot_file;
pub mod secret;
pub mod session;
pub mod webflow;
