//! Stands between a load and a real server, and does one thing wrong: by the number of a reply or of a byte, not by the clock.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::wire;

/// What it does wrong, on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The reply with this number, from 0, never comes.
    Drop(u64),
    /// It comes twice.
    Double(u64),
    /// It and the next one change places.
    Swap(u64),
    /// Behind the reply with this number, the first `+OK` that has an error directly behind it changes places with it.
    SwapUnlike(u64),
    /// These bytes come in its place.
    Instead(u64, Vec<u8>),
    /// The connection ends when so many bytes went to the server.
    CutCommands(u64),
    /// The connection ends when so many bytes of replies came back.
    CutReplies(u64),
    /// It is reset (`RST`) when so many bytes of replies came back.
    ResetReplies(u64),
    /// Behind so many bytes replies come and commands go one byte at a time, for some thousands of them.
    Trickle(u64),
    /// Behind so many bytes replies come late, a few at a time, for some hundreds of pieces.
    Delay(u64),
    /// Nothing comes back behind so many bytes, and nothing is closed.
    Stall(u64),
    /// Nothing goes to the server behind so many bytes, and nothing is closed.
    StallCommands(u64),
}

/// Which connections are meant, by the first command on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// Those that ask what the destination is: they begin with `HELLO`.
    Questions,
    /// Those that write: they begin with a mark.
    Data,
}

/// What went through connections of that kind.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) commands: AtomicU64,
    pub(crate) replies: AtomicU64,
    pub(crate) reply_count: AtomicU64,
    pub(crate) fired: AtomicBool,
}

/// The proxy. Its threads end with the connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    pub(crate) traffic: Arc<Traffic>,
    plan: Arc<Plan>,
}

/// Which connection gets which fault.
#[derive(Debug)]
struct Plan {
    server: AtomicU16,
    on: On,
    faults: Faults,
    /// Of each connection that was meant, where each has a fault of its own.
    each: Mutex<Vec<Arc<Traffic>>>,
    /// Called when the first fault happens, before anything is seen of it.
    observe: Observe,
    observed: OnceLock<u64>,
}

/// What is counted at the instant of a fault.
struct Observe(Box<dyn Fn() -> u64 + Send + Sync>);

impl std::fmt::Debug for Observe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observe")
    }
}

impl Plan {
    fn happens(&self, traffic: &Traffic) {
        if !traffic.fired.load(Ordering::SeqCst) {
            self.observed.get_or_init(|| (self.observe.0)());
            traffic.fired.store(true, Ordering::SeqCst);
        }
    }
}

#[derive(Debug)]
enum Faults {
    /// All connections together have this one.
    Shared(Fault),
    /// One after the other; those behind the last have none.
    Each(Vec<Fault>),
}

impl Proxy {
    pub(crate) fn start(server: u16, on: On, fault: Fault) -> Self {
        Self::listen(server, on, Faults::Shared(fault), || 0)
    }

    /// The first connection that is meant has the first fault, the second one the second.
    pub(crate) fn sequence(server: u16, on: On, faults: Vec<Fault>) -> Self {
        Self::listen(server, on, Faults::Each(faults), || 0)
    }

    /// The same; something is counted at the instant of the first fault.
    pub(crate) fn observed_by(
        server: u16,
        on: On,
        faults: Vec<Fault>,
        observe: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self::listen(server, on, Faults::Each(faults), observe)
    }

    /// What was counted then.
    pub(crate) fn observed(&self) -> u64 {
        *self.plan.observed.get().expect("a fault happened")
    }

    fn listen(
        server: u16,
        on: On,
        faults: Faults,
        observe: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let traffic = Arc::new(Traffic::default());
        let plan = Arc::new(Plan {
            server: AtomicU16::new(server),
            on,
            faults,
            each: Mutex::default(),
            observe: Observe(Box::new(observe)),
            observed: OnceLock::new(),
        });
        let (shared, its_plan) = (Arc::clone(&traffic), Arc::clone(&plan));
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let (plan, traffic) = (Arc::clone(&its_plan), Arc::clone(&shared));
                thread::spawn(move || pass(&client, &plan, &traffic));
            }
        });
        Self {
            port,
            traffic,
            plan,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn has_fired(&self) -> bool {
        self.traffic.fired.load(Ordering::SeqCst)
    }

    /// How many faults of a sequence have happened.
    pub(crate) fn fired(&self) -> usize {
        let each = self.plan.each.lock().expect("not poisoned");
        each.iter()
            .filter(|traffic| traffic.fired.load(Ordering::SeqCst))
            .count()
    }

    /// New connections go to this server.
    pub(crate) fn move_to(&self, server: u16) {
        self.plan.server.store(server, Ordering::SeqCst);
    }
}

fn pass(client: &TcpStream, plan: &Plan, shared: &Traffic) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", plan.server.load(Ordering::SeqCst))) else {
        let _ = client.shutdown(Shutdown::Both);
        return;
    };
    let mut chunk = vec![0; 1 << 16];
    let Ok(count @ 1..) = (&*client).read(&mut chunk) else {
        return;
    };
    let first = chunk[..count].to_vec();
    let wanted: &[u8] = match plan.on {
        On::Questions => b"HELLO",
        On::Data => b"ECHO",
    };
    let is_meant = first.windows(wanted.len()).any(|w| w == wanted)
        && first
            .iter()
            .position(|b| *b == b'$')
            .is_some_and(|at| first[at..].len() > 4 && first[at + 4..].starts_with(wanted));
    let own = Arc::new(Traffic::default());
    let (fault, traffic) = match &plan.faults {
        _ if !is_meant => (Fault::None, &*own),
        Faults::Shared(fault) => (fault.clone(), shared),
        Faults::Each(faults) => {
            let mut each = plan.each.lock().expect("not poisoned");
            let fault = faults.get(each.len()).cloned().unwrap_or(Fault::None);
            each.push(Arc::clone(&own));
            (fault, &*own)
        }
    };
    let happens = || plan.happens(traffic);
    let cut = || {
        happens();
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            to_server(client, &server, first, &fault, traffic, &happens, &cut);
            let _ = server.shutdown(Shutdown::Write);
        });
        to_client(&server, client, &fault, traffic, &happens, &cut);
        if !matches!(fault, Fault::ResetReplies(_)) {
            let _ = client.shutdown(Shutdown::Write);
        }
    });
}

/// Pieces that come late, and bytes that come alone.
const LATE: usize = 300;
const ALONE: usize = 3000;

/// Writes what stands behind the place of a fault that loses nothing.
fn slowly(mut to: &TcpStream, bytes: &[u8], fault: &Fault) -> std::io::Result<()> {
    let (piece, times, pause) = match fault {
        Fault::Trickle(_) => (1, ALONE, Duration::ZERO),
        _ => (50, LATE, Duration::from_millis(1)),
    };
    let slow = bytes.len().min(piece * times);
    let (slow, fast) = bytes.split_at(slow);
    for piece in slow.chunks(piece) {
        thread::sleep(pause);
        to.write_all(piece)?;
    }
    to.write_all(fast)
}

fn to_server(
    mut client: &TcpStream,
    mut server: &TcpStream,
    mut bytes: Vec<u8>,
    fault: &Fault,
    traffic: &Traffic,
    happens: &dyn Fn(),
    cut: &dyn Fn(),
) {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let before = traffic
            .commands
            .fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let limit = match *fault {
            Fault::CutCommands(limit) | Fault::StallCommands(limit) | Fault::Trickle(limit) => {
                limit.saturating_sub(before)
            }
            _ => u64::MAX,
        };
        let pass = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        if server.write_all(&bytes[..pass]).is_err() {
            return;
        }
        if pass < bytes.len() {
            happens();
            match fault {
                Fault::CutCommands(_) => {
                    cut();
                    return;
                }
                Fault::Trickle(_) if slowly(server, &bytes[pass..], fault).is_err() => return,
                _ => {}
            }
        }
        match client.read(&mut chunk) {
            Ok(count @ 1..) => bytes = chunk[..count].to_vec(),
            _ => return,
        }
    }
}

fn to_client(
    mut server: &TcpStream,
    mut client: &TcpStream,
    fault: &Fault,
    traffic: &Traffic,
    happens: &dyn Fn(),
    cut: &dyn Fn(),
) {
    let (mut chunk, mut bytes) = (vec![0; 1 << 16], Vec::new());
    let mut held: Option<Vec<u8>> = None;
    while let Ok(count @ 1..) = server.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
        let mut out = Vec::new();
        while let Some(length) = wire::reply_len(&bytes) {
            let rest = bytes.split_off(length);
            let reply = std::mem::replace(&mut bytes, rest);
            let number = traffic.reply_count.fetch_add(1, Ordering::SeqCst);
            if let Fault::SwapUnlike(from) = *fault
                && number >= from
                && !traffic.fired.load(Ordering::SeqCst)
            {
                // A mark follows the last +OK, so none is held for ever.
                match held.take() {
                    Some(ok) if reply.starts_with(b"-") => {
                        traffic.fired.store(true, Ordering::SeqCst);
                        out.extend([reply, ok].concat());
                        continue;
                    }
                    before => out.extend(before.unwrap_or_default()),
                }
                match &reply[..] {
                    b"+OK\r\n" => held = Some(reply),
                    _ => out.extend(reply),
                }
                continue;
            }
            let fires = match fault {
                Fault::Drop(n) | Fault::Double(n) | Fault::Swap(n) | Fault::Instead(n, _) => {
                    *n == number
                }
                _ => false,
            };
            if fires {
                happens();
                match fault {
                    Fault::Double(_) => out.extend([&reply[..], &reply].concat()),
                    Fault::Swap(_) => held = Some(reply),
                    Fault::Instead(_, other) => out.extend_from_slice(other),
                    _ => {}
                }
                continue;
            }
            out.extend_from_slice(&reply);
            out.extend(held.take().unwrap_or_default());
        }
        let before = traffic
            .replies
            .fetch_add(out.len() as u64, Ordering::SeqCst);
        let limit = match *fault {
            Fault::CutReplies(limit)
            | Fault::ResetReplies(limit)
            | Fault::Trickle(limit)
            | Fault::Delay(limit)
            | Fault::Stall(limit) => limit.saturating_sub(before),
            _ => u64::MAX,
        };
        let pass = usize::try_from(limit).unwrap_or(usize::MAX).min(out.len());
        if client.write_all(&out[..pass]).is_err() {
            return;
        }
        if pass < out.len() {
            happens();
            match fault {
                Fault::CutReplies(_) => {
                    cut();
                    return;
                }
                Fault::ResetReplies(_) => {
                    // With nothing to linger for, closing resets; the reader of commands ends, and with it the connection.
                    set_socket_linger(client, Some(Duration::ZERO)).expect("a socket");
                    let _ = client.shutdown(Shutdown::Read);
                    let _ = server.shutdown(Shutdown::Both);
                    return;
                }
                Fault::Trickle(_) | Fault::Delay(_)
                    if slowly(client, &out[pass..], fault).is_err() =>
                {
                    return;
                }
                _ => {}
            }
        }
    }
}
