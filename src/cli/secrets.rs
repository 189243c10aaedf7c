//! Where passwords come from. None is ever shown, and none needs to stand on the command line.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rdbridge::resp::{Secret, SecretSource};
use rdbridge::{Error, ErrorKind, Result};

use super::args::PasswordArgs;

/// A secret is never longer than this; whatever is longer is something else.
const LONGEST: u64 = 64 * 1024;

/// The longest that a password command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Variables that may hold a password, the first one that is set counts.
const VARIABLES: [&str; 2] = ["RDBRIDGE_PASSWORD", "REDISCLI_AUTH"];

/// The source that was asked for. Files and commands are read again at every connect, since tokens expire; a password that
/// is asked for is asked once.
///
/// # Errors
/// `Usage` where a password is to be asked for and there is no terminal; `Interrupted` where the user gives up.
pub(crate) fn source(
    args: &PasswordArgs,
    address_has_password: bool,
    interrupted: &Arc<AtomicBool>,
) -> Result<Option<SecretSource>> {
    if let Some(path) = &args.password_file {
        let path = path.clone();
        return Ok(Some(Arc::new(move || from_file(&path).map(Some))));
    }
    if let Some(command) = &args.password_command {
        let (command, interrupted) = (command.clone(), Arc::clone(interrupted));
        return Ok(Some(Arc::new(move || {
            from_command(&command, PATIENCE, &interrupted).map(Some)
        })));
    }
    if args.ask_password {
        let secret = ask(interrupted)?;
        return Ok(Some(Arc::new(move || Ok(Some(secret.clone())))));
    }
    // What stands in the address was typed for it; the environment is for whatever comes along.
    if address_has_password {
        return Ok(None);
    }
    let secret = VARIABLES
        .iter()
        .find_map(std::env::var_os)
        .map(|value| Secret::new(std::os::unix::ffi::OsStringExt::into_vec(value)));
    Ok(secret.map(|secret| -> SecretSource { Arc::new(move || Ok(Some(secret.clone()))) }))
}

fn from_file(path: &Path) -> Result<Secret> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            Error::new(
                ErrorKind::Destination,
                format!("the password file {shown} cannot be read"),
            )
            .with_source(error)
        })?;
    cleaned(bytes, &format!("the password file {shown}"))
}

fn from_command(command: &str, limit: Duration, interrupted: &AtomicBool) -> Result<Secret> {
    let refused = |what: String| Error::new(ErrorKind::Destination, what);
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| {
            refused("the password command cannot be run".to_owned()).with_source(error)
        })?;
    // A thread reads, since what the command has started may hold the pipe when it is gone itself.
    let (sender, receiver) = channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(LONGEST + 1).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        });
    }
    let started = Instant::now();
    let read = loop {
        match receiver.recv_timeout(Duration::from_millis(100)) {
            Ok(read) => break read,
            Err(RecvTimeoutError::Disconnected) => break Ok(Vec::new()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let stopped = interrupted.load(Ordering::Relaxed);
        if stopped || started.elapsed() >= limit {
            let _ = child.kill();
            let _ = child.wait();
            return Err(match stopped {
                true => Error::new(
                    ErrorKind::Interrupted,
                    "interrupted while the password command ran",
                ),
                false => refused(format!(
                    "the password command gave no password within {} s and was ended",
                    limit.as_secs()
                )),
            });
        }
    };
    let bytes = read.map_err(|error| {
        refused("the password command's output cannot be read".to_owned()).with_source(error)
    })?;
    let too_long = bytes.len() as u64 > LONGEST;
    // What closed its output may still run.
    let status = loop {
        let lost = |error| refused("the password command was lost".to_owned()).with_source(error);
        if let Some(status) = child.try_wait().map_err(lost)? {
            break status;
        }
        if too_long || started.elapsed() >= limit {
            let _ = child.kill();
            break child.wait().map_err(lost)?;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // Too much output was cut off above, which may have ended the command: that is said first.
    if !too_long && !status.success() {
        return Err(refused(format!("the password command ended with {status}")));
    }
    cleaned(bytes, "the password command's output")
}

/// Takes off the one line end that editors and `echo` add.
fn cleaned(mut bytes: Vec<u8>, what: &str) -> Result<Secret> {
    let refused = |why: &str| Err(Error::new(ErrorKind::Destination, format!("{what} {why}")));
    if bytes.len() as u64 > LONGEST {
        return refused("is longer than any password");
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return refused("is empty");
    }
    Ok(Secret::new(bytes))
}

/// Asks on the terminal, without showing what is typed.
fn ask(interrupted: &AtomicBool) -> Result<Secret> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    let no_terminal = |error: std::io::Error| {
        Error::new(ErrorKind::Usage, "--ask-password needs a terminal")
            .with_source(error)
            .with_hint("use --password-file, --password-command or RDBRIDGE_PASSWORD")
    };
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(no_terminal)?;
    let before = tcgetattr(&terminal).map_err(|errno| no_terminal(errno.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)
        .map_err(|errno| no_terminal(errno.into()))?;
    let typed = {
        use std::io::Write as _;
        let _ = (&terminal).write_all(b"password: ");
        read_line(&terminal, interrupted)
    };
    // Whatever happened, the terminal shows again what is typed.
    let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
    cleaned(typed?, "the password that was typed")
}

fn read_line(mut terminal: &File, interrupted: &AtomicBool) -> Result<Vec<u8>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let gone = |error: std::io::Error| {
        Error::new(ErrorKind::Usage, "the terminal went away").with_source(error)
    };
    let mut typed = Vec::new();
    let mut buffer = [0; 1024];
    while !typed.ends_with(b"\n") {
        // A signal's handler restarts `read`, so the flag is looked at between short waits.
        let mut fds = [PollFd::new(&terminal, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let ready = match poll(&mut fds, Some(&wait)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => 0,
            Err(errno) => return Err(gone(errno.into())),
        };
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Interrupted,
                "interrupted before anything was done",
            ));
        }
        if ready == 0 {
            continue;
        }
        match terminal.read(&mut buffer).map_err(gone)? {
            0 => break,
            read => typed.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> PasswordArgs {
        PasswordArgs {
            password_file: None,
            password_command: None,
            ask_password: false,
        }
    }

    fn get(args: &PasswordArgs) -> Result<Option<Secret>> {
        let flag = Arc::new(AtomicBool::new(false));
        match source(args, true, &flag)? {
            Some(source) => source(),
            None => Ok(None),
        }
    }

    #[test]
    fn files_and_commands_are_read_again_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let by_file = PasswordArgs {
            password_file: Some(path.clone()),
            ..args()
        };
        let by_command = PasswordArgs {
            password_command: Some(format!("cat {}", path.display())),
            ..args()
        };
        let flag = Arc::new(AtomicBool::new(false));
        let sources =
            [&by_file, &by_command].map(|args| source(args, false, &flag).unwrap().unwrap());
        for text in ["first\n", "second\r\n", " third \n\n", "no end"] {
            std::fs::write(&path, text).unwrap();
            let expected = text.strip_suffix('\n').unwrap_or(text);
            let expected = expected.strip_suffix('\r').unwrap_or(expected);
            for source in &sources {
                assert_eq!(source().unwrap(), Some(Secret::new(expected)), "{text:?}");
            }
        }
        assert_eq!(get(&args()).unwrap(), None);
    }

    #[test]
    fn what_goes_wrong_is_said_without_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        let file = |path: &str| PasswordArgs {
            password_file: Some(path.into()),
            ..args()
        };
        let command = |command: &str| PasswordArgs {
            password_command: Some(command.into()),
            ..args()
        };
        for (args, says) in [
            (file("/nonexistent/x"), "/nonexistent/x cannot be read"),
            (file(empty.to_str().unwrap()), "is empty"),
            (file("/dev/zero"), "longer than any password"),
            (command("echo hunter2; exit 3"), "ended with exit status: 3"),
            (command("true"), "is empty"),
            (command("exit 7"), "ended with exit status: 7"),
            (command("yes hunter2"), "longer than any password"),
        ] {
            let error = get(&args).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Destination);
            let text = error.to_string();
            assert!(text.contains(says) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let flag = AtomicBool::new(false);
        // Its child keeps the pipe.
        let text = "echo hunter2; sleep 60";
        let started = Instant::now();
        let error = from_command(text, Duration::from_millis(300), &flag).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(20));
        let text = error.to_string();
        assert!(
            text.contains("no password within") && !text.contains("hunter2"),
            "{text}"
        );
        flag.store(true, Ordering::Relaxed);
        let error = from_command("sleep 60", PATIENCE, &flag).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}
