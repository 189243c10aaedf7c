//! The primitives of an RDB file, read from `&'data [u8]` (and written, where an encoder needs it).
