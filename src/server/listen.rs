//! Binds the address that the daemon serves on, or takes over the socket that systemd passes, before anything else is
//! started.
//!
//! If the address is taken, the start fails with one line that says so. Nothing is retried, and no other port is tried.
//! Called by the daemon's start.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::io::Errno;

/// How many connections may wait to be accepted. Beyond that, clients try again after a second. Linux allows 4,096 by
/// default.
const BACKLOG: i32 = 1024;
/// The send buffer of each connection; Linux doubles it. With a client that reads 20 KiB/s, progress is visible every
/// 6 s.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}: {reason}", reason = reason(source))]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// The operating system's error.
    pub source: io::Error,
}

/// Listens on `address`; with port 0 the operating system chooses one. `[::]` includes all IPv4 addresses, and means
/// only those on a machine without IPv6.
///
/// # Errors
/// If the address is in use, not this machine's, or needs privileges.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let all_of_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let has_no_ipv6 = |error: &io::Error| {
        error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
            || error.kind() == io::ErrorKind::AddrNotAvailable
    };
    let bound = match TcpListener::bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && has_no_ipv6(&error) => TcpListener::bind(all_of_ipv4),
        bound => bound,
    };
    let bound = bound.and_then(|listener| {
        limit_send_buffers(&listener)?;
        // The standard library's own backlog is 128.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|source| BindError { address, source })
}

/// The daemon cannot serve on the sockets that systemd has passed (`sd_listen_fds(3)`).
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// The daemon serves on one socket only.
    #[error("systemd passes {0} sockets (LISTEN_FDS): the daemon serves on one")]
    TooMany(usize),
    /// The socket is not a listening TCP socket.
    #[error("failed to use the socket that systemd passes (LISTEN_FDS): {0}")]
    Unusable(io::Error),
}

/// Takes over the socket that systemd has passed; `None` if it has passed none. Call it once, before any thread is
/// started.
///
/// # Errors
/// If there are several sockets, or it is not a TCP socket.
pub fn passed() -> Result<Option<TcpListener>, PassedError> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        return Err(PassedError::TooMany(sockets.len()));
    }
    let passed = sockets.take_tcp_listener(0).and_then(|listener| {
        listener.as_ref().map_or(Ok(()), limit_send_buffers)?;
        Ok(listener)
    });
    passed.map_err(PassedError::Unusable)
}

/// Limits what the kernel buffers for a client that reads slowly. Connections inherit the limit. By default Linux
/// buffers up to 4 MiB, and reports free space only when a third of that has been sent: a slow client would look
/// stalled.
fn limit_send_buffers(listener: &TcpListener) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER_BYTES)?)
}

/// Returns the usual errors in words, without the operating system's number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need privileges)".to_owned(),
        _ => error.to_string(),
    }
}
