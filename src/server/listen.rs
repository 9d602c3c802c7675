//! Takes the address that the daemon serves on, before anything else is started.
//!
//! A second daemon on one machine is told here in one line what is wrong; nothing is retried, and no other port is
//! tried. Called by the daemon's start.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that wait to be accepted, beyond which the operating system lets clients try again a second later. Linux
/// allows for 4,096 unless told otherwise.
const BACKLOG: i32 = 1024;

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}: {reason}", reason = reason(source))]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the operating system said.
    pub source: io::Error,
}

/// Listens on `address`; port 0 lets the operating system choose one.
///
/// # Errors
/// Where the address is taken, not this machine's, or not for this user.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        // The standard library lets 128 wait.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|source| BindError { address, source })
}

/// The usual errors in words, without the number that the operating system gives them.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need privileges)".to_owned(),
        _ => error.to_string(),
    }
}
