//! The streams of `exec`, `attach` and `portForward`: SPDY/3.1 and WebSocket, for servers and clients.
pub mod spdy;
