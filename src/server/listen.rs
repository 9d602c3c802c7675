//! Takes the address that the daemon serves on, or the socket that systemd passes to it, before anything else is started.
//!
//! A second daemon on one machine is told here in one line what is wrong; nothing is retried, and no other port is
//! tried. Called by the daemon's start.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::io::Errno;

/// Connections that wait to be accepted, beyond which the operating system lets clients try again a second later. Linux
/// allows for 4,096 unless told otherwise.
const BACKLOG: i32 = 1024;
/// Of each connection; Linux doubles it. At 20 KiB/s a client makes room, as far as we can see, every 6 s.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}: {reason}", reason = reason(source))]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the operating system said.
    pub source: io::Error,
}

/// Listens on `address`; port 0 lets the operating system choose one. `[::]` is all addresses of IPv4 too, and those alone
/// where the machine has no IPv6.
///
/// # Errors
/// Where the address is taken, not this machine's, or not for this user.
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
        // The standard library lets 128 wait.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|source| BindError { address, source })
}

/// The sockets that systemd has passed, by the variables of `sd_listen_fds(3)`, are not one that can be served on.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// Only one address is served.
    #[error("systemd passes {0} sockets (LISTEN_FDS): the daemon serves on one")]
    TooMany(usize),
    /// It is of another kind.
    #[error("failed to use the socket that systemd passes (LISTEN_FDS): {0}")]
    Unusable(io::Error),
}

/// The socket that systemd has passed; `None` if it has not. To be called once, before any thread is started.
///
/// # Errors
/// If there are several, or it is not one of TCP.
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

/// Bounds what the kernel takes for a client that reads slowly: Linux lets up to 4 MiB wait, and says that there is room
/// again only when a third of that is gone. A slow client would then look like one that takes nothing. Connections
/// inherit it.
fn limit_send_buffers(listener: &TcpListener) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER_BYTES)?)
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
