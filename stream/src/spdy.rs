//! SPDY/3.1 as kubectl speaks it: frames, and sessions of many streams over one connection.
//!
//! ```text
//! Session --- task that reads  <-- frames -- the connection
//!    |    `-- task that writes --- frames ->
//!    `- Stream = Reader (queue of at most a window's bytes) + Writer
//! ```
//!
//! Flow control: we tell our windows and keep to the peer's, once it has shown that it has any. The library behind
//! kubectl and the API server knows none: it neither says how much it takes nor heeds what we say. Towards such a
//! peer the connection's own flow control is all there is: a stream that nobody reads stops the whole session.
//!
//! Not here: priorities, server push, everything of SPDY that carries HTTP.
mod dictionary;
mod frame;
mod headers;
mod session;
mod shared;
mod stream;

pub use frame::{Decoder, Encoder, Frame, FrameError};
pub use headers::Headers;
pub use session::{Incoming, Limits, Role, Session, SessionError};
pub use stream::{Reader, Stream, Writer};
