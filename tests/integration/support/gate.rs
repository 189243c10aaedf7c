//! Stands between a load and a real server, and answers some commands by itself: a proxy that knows only some of them, a user who
//! may not use all, a server that says that it is another one.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::wire;

/// Its answer to a command, where it has one of its own.
type Judge = dyn Fn(&[Vec<u8>]) -> Option<Vec<u8>> + Send + Sync;

/// The gate. Its threads end with the connections.
pub(crate) struct Gate {
    port: u16,
    seen: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
}

impl Gate {
    pub(crate) fn start(
        server: u16,
        judge: impl Fn(&[Vec<u8>]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let judge: Arc<Judge> = Arc::new(judge);
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let (judge, kept) = (Arc::clone(&judge), Arc::clone(&kept));
                thread::spawn(move || {
                    // Whoever goes ends it.
                    let _ = serve(client, server, &*judge, &kept);
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Commands with this name that came since the last call, whoever answered them.
    pub(crate) fn take(&self, name: &str) -> Vec<Vec<String>> {
        let mut seen = self.seen.lock().expect("not poisoned");
        let text = |words: &Vec<Vec<u8>>| -> Vec<String> {
            let text = words.iter().map(|word| String::from_utf8_lossy(word));
            text.map(std::borrow::Cow::into_owned).collect()
        };
        let found = seen.iter().map(text).filter(|words| words[0] == name);
        let found = found.collect();
        seen.clear();
        found
    }
}

fn serve(
    mut client: TcpStream,
    server: u16,
    judge: &Judge,
    kept: &Mutex<Vec<Vec<Vec<u8>>>>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server))?;
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let count = client.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&chunk[..count]);
        let mut replies = Vec::new();
        while let Some((words, used)) = wire::command(&bytes) {
            match judge(&words) {
                Some(reply) => replies.extend(reply),
                None => {
                    server.write_all(&bytes[..used])?;
                    replies.extend(reply(&mut server)?);
                }
            }
            bytes.drain(..used);
            kept.lock().expect("not poisoned").push(words);
        }
        client.write_all(&replies)?;
    }
}

/// One reply; nothing else is under way.
fn reply(server: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut reply, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let count = server.read(&mut chunk)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&chunk[..count]);
        if wire::reply_len(&reply) == Some(reply.len()) {
            return Ok(reply);
        }
    }
}
