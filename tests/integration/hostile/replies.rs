//! Hostile replies: a destination that answers one question wrong, in any way. Whoever reads it (facts, probes, functions,
//! the pipeline) neither panics nor hangs nor takes much memory, and a load still knows what it does not know.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, panic, thread};

use rdbridge::outcome::Outcome;
use rdbridge::select::Selection;

use super::super::support::dump::{Crc, Dump, length, string};
use super::super::support::loading::{connector, load_some, options};
use super::super::support::random::Random;
use super::super::support::{alloc, recorder, say_aloud, wire};

/// Loads against a lie each.
const CASES: u64 = 400;

/// How long nothing may move.
const PATIENCE: Duration = Duration::from_millis(60);

/// No load takes longer, whatever it is told.
const MOST_TIME: Duration = Duration::from_secs(5);

/// What a load may allocate, and the destination with it, which runs in the same process and sends up to 12 MB.
const MOST_MEMORY: usize = 96 << 20;

/// Keys of the dump: a mark lies between them.
const KEYS: u64 = 600;

#[test]
fn every_lie_of_a_destination_is_survived() {
    let out = Command::new(env::current_exe().expect("this test binary"))
        .args(["hostile::replies::tell_lies", "--exact", "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .output()
        .expect("this test binary starts");
    let said = String::from_utf8_lossy(&out.stdout);
    let complaints: Vec<&str> = said
        .lines()
        .filter_map(|line| Some(line.split_once("BAD ")?.1))
        .collect();
    let last = said
        .lines()
        .find_map(|line| Some(line.split_once("ALL ")?.1));
    assert!(
        out.status.success() && complaints.is_empty() && last.is_some(),
        "{}\n{}\n{}",
        out.status,
        complaints.join("\n"),
        String::from_utf8_lossy(&out.stderr)
    );
    say_aloud(&format!("hostile replies: {}", last.unwrap_or_default()));
}

/// How one reply is wrong.
#[derive(Debug, Clone)]
enum Lie {
    /// These bytes instead, and the connection goes on.
    Instead(Vec<u8>),
    /// These bytes instead, and the end of the connection.
    AndClose(Vec<u8>),
    /// One byte of it is another.
    Byte(usize, u8),
    /// So many bytes of it, and then nothing any more.
    Silence(usize),
    /// All replies from here on.
    Always(Vec<u8>),
}

fn lie(random: &mut Random) -> Lie {
    let lines: &[&[u8]] = &[
        b"+OK\r\n",
        b"+\r\n",
        b":1\r\n",
        b":-9223372036854775808\r\n",
        b":99999999999999999999\r\n",
        b"$-1\r\n",
        b"$-2\r\n",
        b"$0\r\n\r\n",
        b"$3\r\nabcd\r\n",
        b"$9223372036854775807\r\nx",
        b"$4294967295\r\nx",
        b"$1048576\r\nx",
        b"*-1\r\n",
        b"*0\r\n",
        b"*1\r\n$-1\r\n",
        b"*9223372036854775807\r\n:1\r\n",
        b"*1000000000\r\n:1\r\n",
        b"-ERR\r\n",
        b"-\r\n",
        b"-BUSYKEY Target key name already exists.\r\n",
        b"-MOVED 99999 :0\r\n",
        b"-ASK\r\n",
        b"-LOADING x\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-OOM command not allowed\r\n",
        b"-ERR Bad data format\r\n",
        b"-ERR DUMP payload version or checksum are wrong\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"_\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\0",
        b"\r\n",
        b"",
    ];
    let bytes = match random.below(8) {
        0 => b"*1\r\n".repeat(20_000),
        1 => [&b"+"[..], &vec![b'a'; 4 << 20]].concat(),
        2 => [&b":"[..], &vec![b'1'; 1 << 20]].concat(),
        3 => [&b"*1000000\r\n"[..], &b":1\r\n".repeat(1_000_000)].concat(),
        _ => random.one_of(lines).to_vec(),
    };
    match random.below(10) {
        0..4 => Lie::Instead(bytes),
        4..6 => Lie::AndClose(bytes),
        6..8 => Lie::Byte(random.below(4096), random.byte()),
        8 => Lie::Silence(random.below(12)),
        _ => Lie::Always(random.one_of(lines).to_vec()),
    }
}

/// A destination that answers reply `number`, counted over all connections, with a lie.
struct Liar {
    port: u16,
    replies: Arc<AtomicU64>,
    /// Keys that it took.
    taken: Arc<Mutex<Vec<recorder::Restored>>>,
    gone: Arc<AtomicBool>,
}

impl Liar {
    fn start(number: u64, lie: Option<Lie>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let liar = Self {
            port,
            replies: Arc::default(),
            taken: Arc::default(),
            gone: Arc::default(),
        };
        let (replies, taken, gone) = (
            Arc::clone(&liar.replies),
            Arc::clone(&liar.taken),
            Arc::clone(&liar.gone),
        );
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if gone.load(Ordering::SeqCst) {
                    return;
                }
                let (replies, taken, lie) = (Arc::clone(&replies), Arc::clone(&taken), lie.clone());
                thread::spawn(move || serve(client, number, lie.as_ref(), &replies, &taken));
            }
        });
        liar
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(
    mut client: TcpStream,
    number: u64,
    lie: Option<&Lie>,
    replies: &AtomicU64,
    taken: &Mutex<Vec<recorder::Restored>>,
) {
    let (mut bytes, mut chunk, mut db) = (Vec::new(), vec![0; 1 << 16], 0);
    let mut is_silent = false;
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
        let mut out = Vec::new();
        while let Some((words, used)) = wire::command(&bytes) {
            bytes.drain(..used);
            let mut reply = recorder::answer(&words, recorder::REDIS, &mut db, taken);
            let now = replies.fetch_add(1, Ordering::SeqCst);
            match lie {
                Some(Lie::Always(other)) if now >= number => reply.clone_from(other),
                Some(lie) if now == number => match lie {
                    Lie::Instead(other) => reply.clone_from(other),
                    Lie::AndClose(other) => {
                        out.extend_from_slice(other);
                        let _ = client.write_all(&out);
                        return;
                    }
                    Lie::Byte(at, byte) => {
                        let at = at % reply.len();
                        reply[at] = *byte;
                    }
                    Lie::Silence(length) => {
                        reply.truncate(*length);
                        out.extend_from_slice(&reply);
                        let _ = client.write_all(&out);
                        out.clear();
                        is_silent = true;
                    }
                    Lie::Always(_) => {}
                },
                _ => {}
            }
            out.extend_from_slice(&reply);
        }
        if !is_silent && client.write_all(&out).is_err() {
            return;
        }
    }
}

fn dump() -> Vec<u8> {
    let dump = Dump::redis(12)
        .function("#!lua name=lib\nredis.register_function('f', function() return 7 end)")
        .select_db(0);
    (0..KEYS - 2)
        .fold(dump, |dump, i| dump.string_key(format!("k{i}"), "v"))
        .select_db(1)
        .key(1, "list", [length(1), string("a")].concat())
        .key(2, "set", [length(1), string("a")].concat())
        .finish(Crc::Right)
}

fn tell(line: &str) {
    // The parent may be gone.
    let _ = std::io::stdout().write_all(format!("\n{line}\n").as_bytes());
}

#[test]
#[ignore = "the process that `every_lie_of_a_destination_is_survived` starts"]
fn tell_lies() {
    static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    panic::set_hook(Box::new(|info| {
        if let Ok(mut panics) = PANICS.lock() {
            panics.push(info.to_string());
        }
    }));
    alloc::refuse_over(256 << 20);
    let data = dump();
    let attempt = |liar: &Liar, connections| {
        let mut connector = connector(&format!("redis://127.0.0.1:{}", liar.port));
        connector.options.io_timeout = PATIENCE;
        connector.options.connect_timeout = PATIENCE;
        let mut options = options();
        options.connections = connections;
        load_some(connector, &data, Selection::all, options)
    };
    let honest = Liar::start(0, None);
    let loaded = attempt(&honest, 1);
    let all = honest.replies.load(Ordering::SeqCst);
    let restored = loaded.map(|loaded| loaded.restored());
    if !matches!(restored, Ok(KEYS)) {
        tell(&format!("BAD without a lie: {restored:?}"));
    }
    // Those in front of the first key: facts and probes. Half of the lies are told there.
    let questions = all.saturating_sub(KEYS);
    let (mut slowest, mut most, mut survived) = (Duration::ZERO, 0, 0);
    for case in 0..CASES {
        let mut random = Random::new(20_261_123, "replies", case);
        let number = match case % 2 {
            0 => random.below(questions as usize) as u64,
            _ => random.below(all as usize) as u64,
        };
        let lie = lie(&mut random);
        let what = || {
            let words = format!("{lie:?}");
            format!(
                "case {case}, reply {number}: {}",
                &words[..words.len().min(90)]
            )
        };
        let liar = Liar::start(number, Some(lie.clone()));
        let before = alloc::live();
        alloc::restart_peak();
        let started = Instant::now();
        let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            attempt(&liar, 1 + (case % 3) as usize)
        }));
        let took = started.elapsed();
        let memory = alloc::peak().saturating_sub(before);
        (slowest, most) = (slowest.max(took), most.max(memory));
        if took > MOST_TIME {
            tell(&format!("BAD {}: took {took:?}", what()));
        }
        if memory > MOST_MEMORY {
            tell(&format!("BAD {}: {memory} bytes of memory", what()));
        }
        if let Ok(mut panics) = PANICS.lock() {
            for panic in panics.drain(..) {
                tell(&format!("BAD {}: {}", what(), panic.replace('\n', " / ")));
            }
        }
        match result {
            Ok(Ok(loaded)) => {
                survived += 1;
                let taken = liar.taken.lock().expect("not poisoned").len() as u64;
                let sure = loaded.restored();
                // One `+OK` too many in place of an error is a lie that nobody can see.
                if sure > taken + 1 && !matches!(lie, Lie::Always(_) | Lie::Instead(_)) {
                    tell(&format!("BAD {}: {sure} restored, {taken} taken", what()));
                }
                if loaded.report.stopped.is_none() && loaded.count(Outcome::NotReached) > 0 {
                    tell(&format!("BAD {}: keys left without a reason", what()));
                }
            }
            Ok(Err(error)) => {
                let text = error.to_string();
                if text.chars().any(char::is_control) || text.len() > 4000 {
                    tell(&format!("BAD {}: {} bytes of error", what(), text.len()));
                }
            }
            Err(_) => {}
        }
    }
    tell(&format!(
        "ALL {CASES} lies at {all} places: {survived} loads began; the slowest took {slowest:?}, the most memory was {most} bytes"
    ));
}
