//! The pipeline against servers that answer truly, bend their replies, stop, or are far away.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;
use crate::resp::Connector;

/// A server that answers `commands` with what `answer` says for the n-th of them (marks are answered truly).
fn serve(answer: impl Fn(usize) -> Vec<u8> + Send + 'static) -> Connector {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut bytes, mut chunk, mut n) = (Vec::new(), [0; 65536], 0);
        loop {
            let Ok(count @ 1..) = socket.read(&mut chunk) else {
                return;
            };
            bytes.extend_from_slice(&chunk[..count]);
            let mut replies = Vec::new();
            while let Some((words, used)) = parse(&bytes) {
                bytes.drain(..used);
                if words[0] == b"ECHO" {
                    replies.extend(format!("${}\r\n", words[1].len()).into_bytes());
                    replies.extend(&words[1]);
                    replies.extend(b"\r\n");
                } else {
                    replies.extend(answer(n));
                    n += 1;
                }
            }
            if socket.write_all(&replies).is_err() {
                return;
            }
        }
    });
    Connector::new(format!("redis://{address}").parse().unwrap())
}

fn parse(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let line = |at: usize| {
        let end = at + bytes[at..].windows(2).position(|w| w == b"\r\n")?;
        Some((
            std::str::from_utf8(&bytes[at + 1..end])
                .unwrap()
                .parse::<usize>()
                .unwrap(),
            end + 2,
        ))
    };
    let (count, mut at) = line(0)?;
    let mut words = Vec::new();
    for _ in 0..count {
        if at >= bytes.len() {
            return None;
        }
        let (length, start) = line(at)?;
        words.push(bytes.get(start..start + length)?.to_vec());
        at = start + length + 2;
    }
    (at <= bytes.len()).then_some((words, at))
}

/// Answers by ticket, how it ended, and what was not answered.
type Run = (Vec<(usize, String)>, Result<()>, Vec<(usize, bool)>);

fn run(connector: &Connector, commands: usize) -> Run {
    let mut pipeline =
        Pipeline::new(connector.connect().unwrap(), WindowOptions::default()).unwrap();
    assert!(pipeline.proves_places());
    let mut got = Vec::new();
    let mut sink = |ticket: usize, answer: Answer<'_>| {
        got.push((ticket, answer.reply().shown()));
        Ok(())
    };
    let mut result = Ok(());
    for n in 0..commands {
        let value = vec![b'v'; if n % 100 == 7 { 200_000 } else { n % 300 }];
        result = pipeline.push(n, &[Arg::from("SET"), Arg::Bytes(&value)], &mut sink);
        if result.is_err() {
            break;
        }
    }
    let result = result.and_then(|()| pipeline.drain(&mut sink));
    (got, result, pipeline.unanswered().collect())
}

#[test]
fn every_reply_comes_back_with_its_ticket() {
    let connector = serve(|n| {
        if n % 10 == 3 {
            format!("-ERR {n}\r\n").into_bytes()
        } else {
            b"+OK\r\n".to_vec()
        }
    });
    let (got, result, unanswered) = run(&connector, 5000);
    result.unwrap();
    assert!(unanswered.is_empty());
    assert_eq!(got.len(), 5000);
    for (i, (ticket, words)) in got.iter().enumerate() {
        assert_eq!(*ticket, i);
        assert_eq!(words.contains(&format!("ERR {i}")), i % 10 == 3, "{words}");
    }
}

#[test]
fn a_dropped_or_doubled_reply_is_seen() {
    for (at, instead) in [
        (777, &b""[..]),
        (777, b"+OK\r\n+OK\r\n"),
        (4999, b""),
        (4999, b"+OK\r\n+OK\r\n"),
    ] {
        let connector = serve(move |n| {
            if n == at {
                instead.to_vec()
            } else {
                b"+OK\r\n".to_vec()
            }
        });
        let (got, result, _) = run(&connector, 5000);
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("replies do not fit the commands sent"),
            "{error}"
        );
        assert!(got.len() <= 5000);
    }
}

#[test]
fn what_was_not_answered_comes_back() {
    let connector = serve(|n| {
        if n == 3000 {
            b"*nonsense\r\n".to_vec()
        } else {
            b"+OK\r\n".to_vec()
        }
    });
    let (got, result, unanswered) = run(&connector, 5000);
    assert!(result.unwrap_err().to_string().contains("nonsense"));
    let first = unanswered.first().unwrap().0;
    assert_eq!(
        (got.len(), first),
        (3000, 3000),
        "in order, from the first without a reply"
    );
    assert!(unanswered[0].1, "it was sent");
}

/// Answers `+OK` to everything, but bends the stream of replies with `bend`; then `end`s.
fn bent(bend: impl Fn(usize, &mut Vec<u8>) + Send + 'static) -> Connector {
    let mut connector = serve(move |n| {
        let mut reply = b"+OK\r\n".to_vec();
        bend(n, &mut reply);
        reply
    });
    connector.options.io_timeout = Duration::from_millis(400);
    connector
}

#[test]
fn every_way_to_bend_the_replies_ends_soon_and_in_words() {
    type Bend = fn(usize, &mut Vec<u8>);
    let cases: [(&str, Bend, &str); 9] = [
        (
            "drops",
            |n, r| {
                if n == 1000 {
                    r.clear()
                }
            },
            "do not fit",
        ),
        (
            "doubles",
            |n, r| {
                if n == 1000 {
                    r.extend_from_within(..)
                }
            },
            "do not fit",
        ),
        (
            "doubles an error",
            |n, r| {
                if n == 1000 {
                    *r = b"-ERR x\r\n-ERR x\r\n".to_vec()
                }
            },
            "do not fit",
        ),
        (
            "answers nonsense",
            |n, r| {
                if n == 1000 {
                    *r = b"HTTP/1.1 200 OK\r\n".to_vec()
                }
            },
            "HTTP/1.1",
        ),
        (
            "claims a giant",
            |n, r| {
                if n == 1000 {
                    *r = b"$77777777777777\r\n".to_vec()
                }
            },
            "at most",
        ),
        (
            "claims a large one",
            |n, r| {
                if n == 1000 {
                    *r = b"$77777777\r\n".to_vec()
                }
            },
            "larger than any",
        ),
        (
            "claims many",
            |n, r| {
                if n == 1000 {
                    *r = b"*77777777\r\n".to_vec()
                }
            },
            "too many",
        ),
        (
            "never ends a line",
            |n, r| {
                if n == 1000 {
                    *r = vec![b'-'; 100_000]
                }
            },
            "without an end",
        ),
        (
            "stalls in a reply",
            |n, r| {
                if n == 1000 {
                    *r = b"$6000\r\n".to_vec()
                }
            },
            "nothing for 0.4 s",
        ),
    ];
    for (what, bend, expected) in cases {
        let begun = Instant::now();
        // After the bent reply the server of the last case swallows what follows into its string.
        let stalls = what == "stalls in a reply";
        let connector = bent(move |n, r| {
            if stalls && n > 1000 {
                r.clear()
            } else {
                bend(n, r)
            }
        });
        let (got, result, unanswered) = run(&connector, 1010);
        let error = result.expect_err(what).to_string();
        assert!(
            error.contains(expected) || stalls && error.contains("do not fit"),
            "{what}: {error}"
        );
        assert!(
            got.len() + unanswered.len() <= 1010,
            "{what}: each ticket once at most"
        );
        assert!(got.len() >= 1000, "{what}: what came before counts");
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
    }
}

#[test]
fn a_reply_that_changes_places_with_a_mark_is_seen() {
    // The server answers a mark before the command in front of it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut bytes, mut chunk, mut held) = (Vec::new(), [0; 65536], Vec::new());
        let mut marks = 0;
        while let Ok(count @ 1..) = socket.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
            let mut replies = Vec::new();
            while let Some((words, used)) = parse(&bytes) {
                bytes.drain(..used);
                if words[0] == b"ECHO" {
                    marks += 1;
                    let echo = [
                        format!("${}\r\n", words[1].len()).as_bytes(),
                        &words[1],
                        b"\r\n",
                    ]
                    .concat();
                    if marks > 2 {
                        replies.extend_from_slice(&echo);
                        replies.append(&mut held);
                    } else {
                        replies.append(&mut held);
                        replies.extend_from_slice(&echo);
                    }
                } else {
                    replies.append(&mut held);
                    held = b"+OK\r\n".to_vec();
                }
            }
            if socket.write_all(&replies).is_err() {
                return;
            }
        }
    });
    let connector = Connector::new(format!("redis://{address}").parse().unwrap());
    let (_, result, _) = run(&connector, 2000);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("came too early"), "{error}");
}

#[test]
fn a_close_after_any_reply_byte_leaves_every_ticket_answered_or_unknown() {
    let mut histogram = [0usize; 5];
    for cut in (0..5 * 600).step_by(37) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            // As servers do; else the close would overtake what the system still holds back.
            socket.set_nodelay(true).unwrap();
            let (mut bytes, mut chunk, mut left) = (Vec::new(), [0; 4096], cut);
            while let Ok(count @ 1..) = socket.read(&mut chunk) {
                bytes.extend_from_slice(&chunk[..count]);
                while let Some((words, used)) = parse(&bytes) {
                    bytes.drain(..used);
                    if words[0] == b"ECHO" {
                        let echo = [
                            format!("${}\r\n", words[1].len()).as_bytes(),
                            &words[1],
                            b"\r\n",
                        ]
                        .concat();
                        let _ = socket.write_all(&echo);
                        continue;
                    }
                    let reply = &b"+OK\r\n"[..5.min(left)];
                    left -= reply.len();
                    if socket.write_all(reply).is_err() || left == 0 {
                        // A close with commands unread would reset the connection, and with it throw away replies that
                        // are still on their way.
                        let _ = socket.shutdown(std::net::Shutdown::Write);
                        while let Ok(1..) = socket.read(&mut chunk) {}
                        return;
                    }
                }
            }
        });
        let connector = Connector::new(format!("redis://{address}").parse().unwrap());
        let mut pipeline =
            Pipeline::new(connector.connect().unwrap(), WindowOptions::default()).unwrap();
        let mut answered = Vec::new();
        let mut sink = |ticket: usize, answer: Answer<'_>| {
            assert_eq!(answer, Answer::Ok);
            answered.push(ticket);
            Ok(())
        };
        let mut pushed = 0;
        let mut result = Ok(());
        for n in 0..700 {
            pushed = n + 1;
            result = pipeline.push(
                n,
                &[Arg::from("SET"), Arg::from("k"), Arg::from("v")],
                &mut sink,
            );
            if result.is_err() {
                break;
            }
        }
        let error = result.and_then(|()| pipeline.drain(&mut sink)).unwrap_err();
        assert!(error.to_string().contains("connection"), "{error}");
        let unknown: Vec<usize> = pipeline.unanswered().map(|(ticket, _)| ticket).collect();
        assert!(answered.len() <= cut / 5);
        let all: Vec<usize> = answered.iter().chain(&unknown).copied().collect();
        assert_eq!(all, (0..pushed).collect::<Vec<_>>(), "cut at {cut}");
        histogram[answered.len() / 121] += 1;
    }
    assert!(
        histogram.iter().all(|n| *n > 0),
        "the cuts hit everywhere: {histogram:?}"
    );
}

#[test]
fn a_server_that_answers_much_and_reads_nothing_meanwhile_is_no_dead_lock() {
    // 400 bytes for every command of some 30, and the server writes them all before it reads on.
    let connector = serve(|_| [&b"-ERR "[..], &[b'x'; 393], b"\r\n"].concat());
    let mut pipeline = Pipeline::new(
        connector.connect().unwrap(),
        WindowOptions {
            commands: 32 * 1024,
            bytes: 64 << 20,
            ..WindowOptions::default()
        },
    )
    .unwrap();
    let mut count = 0;
    let mut sink = |ticket: u32, _: Answer<'_>| {
        assert_eq!(ticket, count);
        count += 1;
        Ok(())
    };
    for n in 0..60_000 {
        pipeline
            .push(
                n,
                &[Arg::from("SET"), Arg::from("k"), Arg::from("v")],
                &mut sink,
            )
            .unwrap();
    }
    pipeline.drain(&mut sink).unwrap();
    assert_eq!(count, 60_000);
}

#[test]
fn a_sink_that_says_stop_in_the_middle_of_a_large_value_keeps_the_streams_in_step() {
    let connector = serve(|n| {
        if n == 5 {
            b"-BUSYKEY x\r\n".to_vec()
        } else {
            b"+OK\r\n".to_vec()
        }
    });
    for mixed in [false, true] {
        let mut pipeline =
            Pipeline::new(connector.connect().unwrap(), WindowOptions::default()).unwrap();
        let mut got = Vec::new();
        let mut sink = |ticket: usize, answer: Answer<'_>| {
            got.push((ticket, answer == Answer::Ok));
            if ticket == 4 || answer != Answer::Ok {
                return Err(Error::new(crate::ErrorKind::Interrupted, "stop"));
            }
            Ok(())
        };
        let large = vec![b'v'; 32 << 20];
        let mut refused = None;
        for n in 0..40 {
            let value: &[u8] = if mixed && n == 6 { &large } else { b"small" };
            if let Err(error) = pipeline.push(n, &[Arg::from("SET"), Arg::Bytes(value)], &mut sink)
            {
                refused = Some((n, error.to_string()));
                break;
            }
        }
        let pushed = match refused {
            Some((n, words)) => {
                assert_eq!(words, "stop");
                n + 1
            }
            // All of it fitted into one batch: the stop comes out of the drain.
            None => {
                assert_eq!(pipeline.drain(&mut sink).unwrap_err().to_string(), "stop");
                40
            }
        };
        pipeline.drain(&mut sink).unwrap();
        let unsent = pipeline
            .unanswered()
            .inspect(|(_, sent)| assert!(!sent))
            .count();
        assert_eq!(got.len() + unsent, pushed);
        for (i, (ticket, ok)) in got.iter().enumerate() {
            assert_eq!(
                (*ticket, *ok),
                (i, i != 5),
                "each answer belongs to its ticket"
            );
        }
        if !mixed {
            break;
        }
    }
}

#[test]
fn the_window_grows_for_a_distant_server_and_stays_bounded() {
    // Every batch of replies takes 20 ms: the rate is the window by the distance.
    let connector = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let (send, receive) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
            let mut writer = socket.try_clone().unwrap();
            std::thread::spawn(move || {
                for (at, replies) in receive {
                    std::thread::sleep(at.saturating_duration_since(Instant::now()));
                    if writer.write_all(&replies).is_err() {
                        return;
                    }
                }
            });
            let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1 << 20]);
            while let Ok(count @ 1..) = socket.read(&mut chunk) {
                bytes.extend_from_slice(&chunk[..count]);
                let (mut replies, mut at) = (Vec::new(), 0);
                while let Some((words, used)) = parse(&bytes[at..]) {
                    at += used;
                    if words[0] == b"ECHO" {
                        replies.extend(
                            [
                                format!("${}\r\n", words[1].len()).as_bytes(),
                                &words[1],
                                b"\r\n",
                            ]
                            .concat(),
                        );
                    } else {
                        replies.extend(b"+OK\r\n");
                    }
                }
                bytes.drain(..at);
                if send
                    .send((Instant::now() + Duration::from_millis(20), replies))
                    .is_err()
                {
                    return;
                }
            }
        });
        Connector::new(format!("redis://{address}").parse().unwrap())
    };
    let options = WindowOptions {
        most_commands: 4096,
        ..WindowOptions::default()
    };
    let mut pipeline = Pipeline::new(connector.connect().unwrap(), options).unwrap();
    assert_eq!(pipeline.window_commands(), 512);
    let mut sink = |_: u32, _: Answer<'_>| Ok(());
    let mut most = 0;
    let begun = Instant::now();
    let mut n = 0;
    while pipeline.window_commands() < 4096 && begun.elapsed() < Duration::from_secs(20) {
        pipeline
            .push(
                n,
                &[Arg::from("SET"), Arg::from("k"), Arg::from("v")],
                &mut sink,
            )
            .unwrap();
        most = most.max(pipeline.due());
        n += 1;
    }
    pipeline.drain(&mut sink).unwrap();
    assert_eq!(pipeline.window_commands(), 4096, "after {n} commands");
    assert!(most <= 4096 + 1, "{most} under way");
}

#[test]
fn own_memory_stays_flat_whatever_the_socket_takes() {
    // A unix socket takes little at a time, and the server is slow: every write is a part.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16_000]);
        while let Ok(count @ 1..) = socket.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
            let (mut replies, mut at) = (Vec::new(), 0);
            while let Some((words, used)) = parse(&bytes[at..]) {
                at += used;
                if words[0] == b"ECHO" {
                    replies.extend(
                        [
                            format!("${}\r\n", words[1].len()).as_bytes(),
                            &words[1],
                            b"\r\n",
                        ]
                        .concat(),
                    );
                } else {
                    replies.extend(b"+OK\r\n");
                }
            }
            bytes.drain(..at);
            if socket.write_all(&replies).is_err() {
                return;
            }
        }
    });
    let connector = Connector::new(path.to_str().unwrap().parse().unwrap());
    let options = WindowOptions {
        commands: 32 * 1024,
        bytes: 64 << 20,
        ..WindowOptions::default()
    };
    let mut pipeline = Pipeline::new(connector.connect().unwrap(), options).unwrap();
    let mut sink = |_: usize, _: Answer<'_>| Ok(());
    let value = vec![b'v'; 1000];
    let mut most = 0;
    for n in 0..8000 {
        pipeline
            .push(
                n,
                &[Arg::from("SET"), Arg::from("k"), Arg::Bytes(&value)],
                &mut sink,
            )
            .unwrap();
        most = most.max(pipeline.out.capacity());
    }
    // A command of many arguments is sent while it is packed.
    let many = vec![Arg::Bytes(&[b'x'; 30_000][..]); 60];
    pipeline.push(0, &many, &mut sink).unwrap();
    most = most.max(pipeline.out.capacity());
    pipeline.drain(&mut sink).unwrap();
    assert!(most <= 1 << 20, "{most} bytes held");
}
