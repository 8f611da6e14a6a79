//! Specs that must be refused, and what the error says.
