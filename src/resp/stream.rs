//! One byte stream to a server: TCP, TLS over TCP, or a unix socket.
//!
//! The socket never blocks. Writing and reading both take what goes *now*, and [`Stream::wait`] sleeps until one of them
//! can go on. One thread therefore keeps both directions moving at once: it cannot dead-lock when the server stops reading
//! because its replies are not taken, and TLS, whose two directions share one state, needs no lock. (The other way, a
//! writing and a reading thread, was sketched: it needs a lock around the TLS state, a queue of tickets between the
//! threads and a wake-up for each side, and was not faster, since the server is the bottleneck.)

use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::address::Endpoint;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::error::{Error, ErrorKind, Result};

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// For the name, the connection and the TLS handshake together (each address of a name gets its share).
    pub connect_timeout: Duration,
    /// The longest time without any progress while something is owed by the server. Ends the connection.
    pub io_timeout: Duration,
    /// What `rediss://` needs to know.
    pub tls: TlsOptions,
    /// Set when the user wants to stop: then nobody waits longer than [`StreamOptions::LAST_WAIT`] for a silent server.
    pub interrupted: Option<Arc<AtomicBool>>,
}

impl StreamOptions {
    /// How long a server may be silent once the user wants to stop.
    pub const LAST_WAIT: Duration = Duration::from_millis(800);
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            io_timeout: Duration::from_secs(60),
            tls: TlsOptions::default(),
            interrupted: None,
        }
    }
}

/// Certificates and names for `rediss://`.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// PEM file with the roots to trust *instead of* the system's.
    pub ca_certificates: Option<PathBuf>,
    /// The name that the certificate must carry, where it is not the host of the address.
    pub server_name: Option<String>,
    /// PEM files of the client's certificate chain and key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Takes any certificate for any name. Only if the user said so in words.
    pub insecure: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).read(buf),
            Socket::Unix(socket) => (&mut &*socket).read(buf),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).write(buf),
            Socket::Unix(socket) => (&mut &*socket).write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).write_vectored(bufs),
            Socket::Unix(socket) => (&mut &*socket).write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connected stream that never blocks.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
}

impl Stream {
    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Connects, and for TLS shakes hands, within `options.connect_timeout`.
    ///
    /// # Errors
    /// Kind `Destination`, with the endpoint and the system's words; kind `Usage` or `Io` for certificates that cannot be
    /// read.
    pub fn connect(endpoint: &Endpoint, options: &StreamOptions) -> Result<Self> {
        let deadline = after(options.connect_timeout);
        #[cfg(feature = "tls")]
        let mut tls = match endpoint {
            Endpoint::Tls { host, .. } => Some(Box::new(Tls::new(host, &options.tls)?)),
            _ => None,
        };
        let socket = match endpoint {
            Endpoint::Tcp { host, port } => {
                Socket::Tcp(connect_tcp(endpoint, host, *port, deadline)?)
            }
            #[cfg(feature = "tls")]
            Endpoint::Tls { host, port } => {
                Socket::Tcp(connect_tcp(endpoint, host, *port, deadline)?)
            }
            #[cfg(not(feature = "tls"))]
            Endpoint::Tls { .. } => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "this build cannot speak TLS (its feature `tls` is off)",
                ));
            }
            Endpoint::Unix(path) => Socket::Unix(
                connect_unix(path, deadline).map_err(|error| unreachable(endpoint, error))?,
            ),
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut tls {
            while tls.is_handshaking() {
                match tls.step(&mut &socket) {
                    Ok(()) if !tls.is_handshaking() => break,
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(super::tls::handshake_failed(endpoint, error)),
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(super::tls::handshake_failed(
                        endpoint,
                        io::ErrorKind::TimedOut.into(),
                    ));
                }
                wait_for(&socket, tls.wants_write(), left)
                    .map_err(|error| unreachable(endpoint, error))?;
            }
        }
        Ok(Self {
            socket,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Writes as much of `bufs` as goes now.
    ///
    /// # Errors
    /// `WouldBlock` if nothing goes; anything else is the end of this direction.
    pub fn try_write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.write(&mut &self.socket, bufs);
        }
        retry(|| (&mut &self.socket).write_vectored(bufs))
    }

    /// Reads what is there; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; anything else is the end of this direction.
    pub fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.read(&mut &self.socket, buf);
        }
        retry(|| (&mut &self.socket).read(buf))
    }

    /// Sleeps until something can be read, or (if `write`) written, or the time is over: then `false`.
    ///
    /// # Errors
    /// What `poll` answers.
    pub fn wait(&mut self, write: bool, timeout: Duration) -> io::Result<bool> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            if tls.has_plaintext() {
                return Ok(true);
            }
            return wait_for(&self.socket, write || tls.wants_write(), timeout);
        }
        wait_for(&self.socket, write, timeout)
    }

    /// Ends both directions at once; errors do not matter any more.
    pub fn shut_down(&self) {
        let _already_gone = match &self.socket {
            Socket::Tcp(socket) => socket.shutdown(std::net::Shutdown::Both),
            Socket::Unix(socket) => socket.shutdown(std::net::Shutdown::Both),
        };
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn wait_for(socket: &Socket, write: bool, timeout: Duration) -> io::Result<bool> {
    let mut flags = PollFlags::IN;
    if write {
        flags |= PollFlags::OUT;
    }
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(socket, flags)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        // A signal: the caller looks again and comes back with what is left of its time.
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn connect_tcp(endpoint: &Endpoint, host: &str, port: u16, deadline: Instant) -> Result<TcpStream> {
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| unreachable(endpoint, error))?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (done, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = u32::try_from(addresses.len().saturating_sub(done)).unwrap_or(1);
        let share = left.checked_div(share).unwrap_or(left);
        if share.is_zero() {
            last = io::ErrorKind::TimedOut.into();
            break;
        }
        match TcpStream::connect_timeout(address, share).and_then(prepare) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(unreachable(endpoint, last))
}

fn prepare(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    // Finds a peer that vanished while we owe it nothing; it does not keep a server's own idle time-out away.
    rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    rustix::net::sockopt::set_tcp_keepidle(&socket, Duration::from_secs(30))?;
    Ok(socket)
}

/// A unix socket's `connect` waits without end where the server's backlog is full; this one does not.
fn connect_unix(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let address = SocketAddrUnix::new(path)?;
    loop {
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        let stream = UnixStream::from(fd);
        stream.set_nonblocking(true)?;
        match connect(&stream, &address) {
            Ok(()) => return Ok(stream),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                if Instant::now() >= deadline {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout)
        .or_else(|| now.checked_add(Duration::from_secs(86_400)))
        .unwrap_or(now)
}

#[cold]
pub(super) fn unreachable(endpoint: &Endpoint, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("cannot connect to {endpoint}"),
    )
    .with_source(error)
}
