//! The protocol as the tests speak it, by themselves: a client that is fast in a test build too, and the cutting of a stream
//! into replies and commands for what stands between a client and a server.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use redis::Value;

/// A client of the plainest kind: commands in one go, then their replies.
#[derive(Debug)]
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server answers");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a time-out can be set");
        Self {
            reader: BufReader::with_capacity(1 << 20, stream),
        }
    }

    /// The replies to these commands; errors are values.
    pub(crate) fn ask(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Value> {
        let packed: Vec<u8> = commands.iter().flat_map(|words| pack(words)).collect();
        self.reader
            .get_mut()
            .write_all(&packed)
            .expect("the server takes commands");
        commands.iter().map(|_| self.reply()).collect()
    }

    /// How many replies commands as they go over the wire have, none of which may be an error.
    pub(crate) fn send_raw(&mut self, commands: &[u8]) -> u64 {
        let mut stream = self.reader.get_ref().try_clone().expect("a socket");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                stream
                    .write_all(commands)
                    .expect("the server takes commands");
                stream
                    .write_all(&pack(&["ECHO", "end of commands"]))
                    .expect("another");
            });
            (0..)
                .find(|_| match self.reply() {
                    Value::BulkString(text) => text == b"end of commands",
                    Value::SimpleString(text) if text.starts_with('-') => panic!("{text}"),
                    _ => false,
                })
                .unwrap_or_default()
        })
    }

    fn reply(&mut self) -> Value {
        let line = self.line();
        let (kind, rest) = line.split_first().expect("a reply");
        let rest = String::from_utf8_lossy(rest).into_owned();
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            b'+' => Value::SimpleString(rest),
            b'-' => Value::SimpleString(format!("-{rest}")),
            b':' => Value::Int(number()),
            b'$' => match usize::try_from(number()) {
                Err(_) => Value::Nil,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.reader.read_exact(&mut bytes).expect("a string");
                    bytes.truncate(length);
                    Value::BulkString(bytes)
                }
            },
            b'*' => match usize::try_from(number()) {
                Err(_) => Value::Nil,
                Ok(count) => Value::Array((0..count).map(|_| self.reply()).collect()),
            },
            other => panic!("no reply begins with {:?}", char::from(*other)),
        }
    }

    fn line(&mut self) -> Vec<u8> {
        use std::io::BufRead as _;
        let mut line = Vec::new();
        self.reader
            .read_until(b'\n', &mut line)
            .expect("the server answers");
        assert!(line.ends_with(b"\r\n"), "the server closed: {line:?}");
        line.truncate(line.len() - 2);
        line
    }
}

/// A command as it goes over the wire.
pub(crate) fn pack<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        out.extend(format!("${}\r\n", word.len()).into_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The length of the first reply in `bytes`; `None` if it is not whole. Good for what servers answer to a loader.
pub(crate) fn reply_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || {
        std::str::from_utf8(&bytes[1..end - 2])
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .expect("a number")
    };
    match bytes[0] {
        b'$' => {
            let length = usize::try_from(number()).map_or(end, |length| end + length + 2);
            (bytes.len() >= length).then_some(length)
        }
        b'*' => (0..number().max(0)).try_fold(end, |at, _| Some(at + reply_len(&bytes[at..])?)),
        _ => Some(end),
    }
}

/// The words of the first command in `bytes`, and its length.
pub(crate) fn command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let mut number = |mark: u8| -> Option<(usize, usize)> {
        let rest = bytes.get(at..)?;
        let end = rest.iter().position(|b| *b == b'\n')? + 1;
        assert_eq!(rest[0], mark, "a command as loaders send them");
        let text = std::str::from_utf8(&rest[1..end - 2]).expect("digits");
        let number: usize = text.parse().expect("a number");
        at += end;
        let begin = at;
        if mark == b'$' {
            at += number + 2;
        }
        Some((number, begin))
    };
    let (count, _) = number(b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, begin) = number(b'$')?;
        if bytes.len() < begin + length + 2 {
            return None;
        }
        words.push(bytes[begin..begin + length].to_vec());
    }
    Some((words, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_cut_where_replies_and_commands_end() {
        let reply = b"*3\r\n$2\r\nab\r\n:1\r\n*1\r\n$-1\r\n+OK\r\n";
        assert_eq!(reply_len(reply), Some(reply.len() - 5));
        assert_eq!(reply_len(&reply[..reply.len() - 6]), None);
        assert_eq!(reply_len(b"-ERR x\r\n+OK\r\n"), Some(8));
        let two = [pack(&["SET", "k", ""]), pack(&["PING"])].concat();
        let first = pack(&["SET", "k", ""]).len();
        assert_eq!(
            command(&two),
            Some((vec![b"SET".to_vec(), b"k".to_vec(), Vec::new()], first))
        );
        for cut in 0..first {
            assert_eq!(command(&two[..cut]), None, "{cut}");
        }
    }
}
