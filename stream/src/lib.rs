//! The streams of `exec`, `attach` and `portForward`: SPDY/3.1 and WebSocket, for servers and clients.
//!
//! ```text
//! HTTP request --upgrade::accept--> Transport --.          .--> remote::Remote    stdin, stdout, stderr, resize, error
//!                                               +-- io ----+
//! HTTP answer  <-client::upgrade--- Transport --'          `--> forward::Forward  one Connection for each TCP connection
//!
//! transport:   SPDY/3.1                      a stream for each channel        spdy/
//!              WebSocket, *.channel.k8s.io   a byte of channel, then bytes    websocket.rs
//!              WebSocket, SPDY/3.1+...       frames of SPDY in messages       tunnel.rs
//! ```
//!
//! *Guarantees.* Whatever the other side sends is taken in bounded memory, and every wait has its bound: a hand-shake 30 s,
//! a silent peer a minute, a session without a byte its idle time.
//!
//! Not here: who may do what, containers, sockets, TLS.
pub mod channel;
pub mod client;
pub mod forward;
pub mod outcome;
pub mod remote;
pub mod spdy;
mod tunnel;
pub mod upgrade;
mod websocket;

pub use channel::{Input, Output, StreamError};
pub use outcome::Outcome;
pub use upgrade::{Kind, Transport};
