//! All integration tests as one binary: it links once, and the tests share what starts servers and builds dumps.

mod destination;
mod support;

#[global_allocator]
static ALLOCATOR: support::alloc::Counting = support::alloc::Counting;

// Whatever bytes a file has: no panic, no hang, little memory.
mod hostile;

// Own memory is flat.
mod memory;

// Arrows point down only.
mod layering;

// The samples that real servers wrote.
mod testdata;

// Inputs as a user names them.
mod input;

// Packed dumps, whole and broken.
#[cfg(feature = "compression")]
mod packed;

// A disk that is full.
#[cfg(feature = "compression")]
mod full_disk;

// The same key twice in one database.
mod duplicates;

// The ends of files.
mod ending;

// The command: exit codes, outputs, selection.
mod cli;

// Whether a file is whole.
mod check;

// What warnings say of servers, measured.
mod warnings;

// What is in a file.
mod info;

// Which entries are meant, against servers.
mod select;

// The samples of other projects.
mod corpus;

// Values decoded, and judged, as servers do.
mod values;

// The commands of a dump as text.
mod export;
mod export_restore;

// Rows of keys, and single keys.
mod inspect;

// The server is the oracle.
mod oracle;

// Whether a destination holds what a file means.
mod meaning;

// What messages say.
mod messages;

// Proof that a destination holds a dump.
mod compare;

// Newer dumps into older servers.
mod older;

// Every required server's dump into every required server.
mod matrix;

// What a load would do, before it.
mod plan;

// Each policy, and destinations that cannot go on.
mod load;

// Values by plain write commands.
mod by_commands;

// Where RESTORE does not take a value, though it is open.
mod next_road;

// What a load refuses before anything else.
mod load_usage;

// What ends a load from outside.
mod load_stop;

// What is sent, byte for byte.
mod payloads;

// What is read while a load runs.
mod read_back;

// What a load does where a server does not take a command.
mod reactions;

// Other names, databases and expiries than those of the file.
mod arrives;

// Destinations whose clocks are not ours.
mod clock;

// Loads that others can live with.
mod gentle;

// A load that breaks off goes on.
mod resume;

// Processes and servers that are killed, and what a journal that is not whole is good for.
mod killed;

// What a journal calls restored is still there, or that is said.
mod still_there;

// Every key at its shard.
mod cluster;

// Renamed commands, and logins that run out.
mod access;

// What cannot fit is stopped early.
mod growth;

// Users who may not do everything.
mod rights;

// Destinations that lie, refuse and break off.
mod bad_destination;

// KeyDB and Dragonfly, as far as a script can be them.
mod products;

// Keys with any name.
mod names;

// TLS to real servers.
#[cfg(feature = "tls")]
mod tls;

// Cached Lua scripts.
mod scripts;

// Vector sets as JSON.
mod vectors;

// The dumps of a cluster's shards as one job.
mod shards;

// Masters that are replaced meanwhile.
mod cluster_failover;

// A network that does one thing wrong.
mod faults;
