//! Stands between the command and a real server, takes one command at a time, and answers some of them itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::wire;

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The server answers.
    Pass,
    /// It never reaches the server, and this is the answer.
    Answer(Vec<u8>),
    /// In the server's answer these words stand for those.
    Instead(&'static str, &'static str),
}

/// The answer to a command that is not taken, in these words.
pub(crate) fn error(words: &str) -> Deed {
    Deed::Answer(format!("-{words}\r\n").into_bytes())
}

/// The proxy. Its threads end with the connections.
#[derive(Debug)]
pub(crate) struct Meddler {
    port: u16,
    commands: Arc<Mutex<Vec<String>>>,
}

impl Meddler {
    /// `meddle` is told the number of a command, from 0, over all connections, and its words.
    pub(crate) fn start(
        server: u16,
        meddle: impl Fn(usize, &[Vec<u8>]) -> Deed + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let commands = Arc::new(Mutex::new(Vec::new()));
        let (names, meddle) = (Arc::clone(&commands), Arc::new(meddle));
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let (names, meddle) = (Arc::clone(&names), Arc::clone(&meddle));
                thread::spawn(move || {
                    let judge = |words: &[Vec<u8>]| {
                        let mut names = names.lock().expect("not poisoned");
                        names.push(String::from_utf8_lossy(&words[0]).into_owned());
                        let number = names.len() - 1;
                        drop(names);
                        meddle(number, words)
                    };
                    // Whoever goes, goes: the other side sees the end.
                    let _ = serve(&client, server, judge);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, commands }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The names of the commands so far.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.commands.lock().expect("not poisoned").clone()
    }
}

fn serve(
    mut client: &TcpStream,
    server: u16,
    judge: impl Fn(&[Vec<u8>]) -> Deed,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server))?;
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        while let Some((words, length)) = wire::command(&bytes) {
            let deed = judge(&words);
            let packed: Vec<u8> = bytes.drain(..length).collect();
            let reply = match &deed {
                Deed::Answer(reply) => reply.clone(),
                Deed::Pass | Deed::Instead(..) => {
                    server.write_all(&packed)?;
                    answer(&mut server)?
                }
            };
            let reply = match deed {
                Deed::Instead(these, those) => replaced(&reply, these, those),
                _ => reply,
            };
            client.write_all(&reply)?;
        }
        match client.read(&mut chunk)? {
            0 => return Ok(()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn answer(server: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut reply, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    while wire::reply_len(&reply).is_none() {
        match server.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => reply.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(reply)
}

/// Texts are told with their lengths: the words must be as long as those that they stand for, or make up for it in a text of one
/// bulk.
fn replaced(reply: &[u8], these: &str, those: &str) -> Vec<u8> {
    assert_eq!(these.len(), those.len(), "lengths stand before texts");
    let mut out = reply.to_vec();
    let mut at = 0;
    while let Some(found) = out[at..]
        .windows(these.len())
        .position(|part| part == these.as_bytes())
    {
        out[at + found..at + found + those.len()].copy_from_slice(those.as_bytes());
        at += found + those.len();
    }
    out
}
