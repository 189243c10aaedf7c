//! All integration tests as one binary: it links once, and the tests share what starts servers and builds dumps.

mod destination;
mod support;

// Arrows point down only.
mod layering;

// The samples that real servers wrote.
mod testdata;
