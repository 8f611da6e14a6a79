//! From an image reference to unpacked layers.
