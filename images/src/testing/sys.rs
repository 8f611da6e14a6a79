//! The one socket option that std does not offer yet.

use std::net::TcpStream;
use std::time::Duration;

/// socket(7) `SO_LINGER` of zero: closing resets the connection.
pub(super) fn reset_on_close(stream: &TcpStream) {
    let set = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    set.expect("TCP sockets know SO_LINGER");
}
