//! Inputs as a user names them: whatever the packing and the way in, the same bytes come out; whatever is wrong, one clear
//! message.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rdbridge::error::ErrorKind;
use rdbridge::input::{Fact, Input, Inputs, Options, Packing, Source, Why};
use rdbridge::{Error, Result};

use crate::support::dump::{Crc, Dump};
use crate::support::say_aloud;

fn options() -> Options {
    let mut options = Options::new(std::env::temp_dir());
    options.command = "rdbridge load".into();
    options
}

/// A small dump whose bytes do not all pack away.
fn dump() -> Vec<u8> {
    let mut dump = Dump::redis(11).aux("redis-ver", "7.2.4").select_db(0);
    let mut noise = 1u32;
    for i in 0..40 {
        let value: Vec<u8> = (0..20)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        dump = dump.string_key(format!("user:{i}"), value);
    }
    dump.finish(Crc::Right)
}

/// A directory for one test, and short ways to fill it.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.path().join(name.as_ref())
    }

    fn file(&self, name: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, bytes).expect("a file");
        path
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo runs").success(), "mkfifo");
        path
    }
}

/// Opens `path` while a thread writes `bytes` into it, as a process substitution does.
fn through_fifo(path: &Path, bytes: Vec<u8>, options: &Options) -> Result<Input> {
    let to = path.to_owned();
    let writer = thread::spawn(move || {
        // The reader may close early: that is its right.
        let _ = File::options()
            .write(true)
            .open(to)
            .and_then(|mut fifo| fifo.write_all(&bytes));
    });
    let opened = Input::open(path, options);
    writer.join().expect("the writer ends");
    opened
}

fn refusal(opened: Result<Input>) -> Error {
    match opened {
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "one line: {text}");
            error
        }
        Ok(input) => panic!("opened: {input:?}"),
    }
}

#[test]
fn a_plain_file_is_mapped() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", dump());
    let input = Input::open(&path, &options()).unwrap();
    assert_eq!(input.bytes(), dump());
    assert!(!input.is_spooled() && input.facts().is_empty() && input.packing() == Packing::Plain);
    assert_eq!(input.name(), path.to_str().unwrap());
    let identity = input.identity();
    assert_eq!(identity.size, dump().len() as u64);
    assert_eq!(identity.stamp.unwrap().size, identity.size);
    assert_eq!(identity.path.as_deref(), Some(&*path));
}

#[test]
fn without_mmap_it_is_copied() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", dump());
    let mut options = options();
    options.map = false;
    let input = Input::open(&path, &options).unwrap();
    assert_eq!(input.bytes(), dump());
    assert!(input.is_spooled());
    assert!(matches!(
        input.facts(),
        [Fact::Spooled { why: Why::Asked, bytes, .. }] if *bytes == dump().len() as u64
    ));
    let mapped = Input::open(&path, &self::options()).unwrap();
    assert_eq!(
        mapped.identity(),
        input.identity(),
        "the same input either way"
    );
}

#[test]
fn a_pipe_is_copied() {
    let dir = Dir::new();
    // Longer than a pipe's buffer and than ours.
    let mut bytes = dump();
    bytes.resize(1 << 20, 7);
    let input = through_fifo(&dir.fifo("pipe"), bytes.clone(), &options()).unwrap();
    assert!(input.bytes() == bytes);
    assert!(matches!(
        input.facts(),
        [Fact::Spooled {
            why: Why::Stream,
            ..
        }]
    ));
    assert!(input.identity().stamp.is_none());
}

/// The child of `standard_input_is_read`: says what standard input holds.
#[test]
#[ignore = "reads standard input; started by standard_input_is_read"]
fn standard_input_probe() {
    let said = match Input::open("-", &options()) {
        Ok(input) => format!("spooled={} bytes={:?}", input.is_spooled(), input.bytes()),
        Err(error) => error.to_string(),
    };
    fs::write(
        std::env::var_os("RDBRIDGE_TEST_ANSWER").expect("the answer's file"),
        said,
    )
    .unwrap();
}

#[test]
fn standard_input_is_read() {
    let dir = Dir::new();
    let answer = dir.path("answer");
    let probe = |stdin: Stdio, bytes: Option<&[u8]>| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "input::standard_input_probe", "--ignored"])
            .env("RDBRIDGE_TEST_ANSWER", &answer)
            .stdin(stdin)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        if let Some(bytes) = bytes {
            let _ = child.stdin.take().unwrap().write_all(bytes);
        }
        assert!(child.wait().unwrap().success());
        let said = fs::read_to_string(&answer).expect("the probe has answered");
        fs::remove_file(&answer).unwrap();
        said
    };
    let bytes = dump();
    assert_eq!(
        probe(Stdio::piped(), Some(&bytes)),
        format!("spooled=true bytes={bytes:?}")
    );
    let path = dir.file("dump.rdb", &bytes);
    let redirected = File::open(&path).unwrap();
    assert_eq!(
        probe(redirected.into(), None),
        format!("spooled=false bytes={bytes:?}")
    );
    // A file that something else has read from goes on where that stopped.
    let with_header = dir.file("with-header", [b"header\n", &bytes[..]].concat());
    let mut redirected = File::open(with_header).unwrap();
    std::io::Seek::seek(&mut redirected, std::io::SeekFrom::Start(7)).unwrap();
    assert_eq!(
        probe(redirected.into(), None),
        format!("spooled=true bytes={bytes:?}")
    );

    let said = probe(Stdio::piped(), Some(b""));
    assert!(said.starts_with("standard input: is empty"), "{said}");
    let said = probe(Stdio::null(), None);
    assert!(said.starts_with("standard input: is empty"), "{said}");
    let said = probe(File::open("/").unwrap().into(), None);
    assert!(said.contains("is a directory"), "{said}");
}

#[test]
fn what_is_no_dump_is_refused_with_the_next_step() {
    let dir = Dir::new();
    for (bytes, words) in [
        (&b""[..], "is empty"),
        (b"REDI", "ends inside the magic"),
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
            "redis-cli -u URL --pipe",
        ),
        (b"PK\x03\x04abc", "unzip -p"),
        (b"hello world\n", "begins with \"hello world\\n\", a text"),
        (b"VCS\x01\x07\x00\x01", "codec"),
    ] {
        let path = dir.file("some file", bytes);
        for opened in [
            Input::open(&path, &options()),
            through_fifo(&dir.fifo("pipe"), bytes.to_vec(), &options()),
        ] {
            let error = refusal(opened);
            let text = error.to_string();
            assert!(text.contains(words), "{text}");
            assert!(
                matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                "{error:?}"
            );
            assert!(
                text.starts_with(dir.0.path().to_str().unwrap()),
                "names the file: {text}"
            );
        }
        fs::remove_file(dir.path("pipe")).unwrap();
    }
    let path = dir.file("it's.zip", b"PK\x03\x04abc");
    let text = refusal(Input::open(path, &options())).to_string();
    assert!(
        text.contains("it'\\''s.zip' | rdbridge load - …"),
        "can be pasted: {text}"
    );
}

#[test]
fn what_is_no_file_is_refused_by_its_kind() {
    let dir = Dir::new();
    symlink("loop", dir.path("loop")).unwrap();
    symlink("nowhere", dir.path("dangling")).unwrap();
    let _listener = UnixListener::bind(dir.path("socket")).unwrap();
    for (path, kind, words) in [
        (
            dir.path("missing"),
            ErrorKind::Io,
            "cannot be opened: No such file",
        ),
        (dir.path("loop"), ErrorKind::Io, "symbolic links"),
        (dir.path("dangling"), ErrorKind::Io, "No such file"),
        (
            dir.path("socket"),
            ErrorKind::Usage,
            "is a socket, where a server listens; a server is a destination",
        ),
        (dir.path(""), ErrorKind::Usage, "is a directory"),
        ("/dev/null".into(), ErrorKind::Corrupt, "is a device"),
        ("/dev/zero".into(), ErrorKind::Corrupt, "is a device"),
        ("/proc/version".into(), ErrorKind::Corrupt, "a text"),
        (
            "s3://bucket/key".into(),
            ErrorKind::Usage,
            "aws s3 cp s3://bucket/key - | rdbridge load - …",
        ),
    ] {
        let error = refusal(Input::open(&path, &options()));
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn a_file_that_may_not_be_read_is_said_with_a_way_out() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", dump());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        say_aloud(
            "SKIPPED: a file without permissions can be read here (as root), so its message is not tested",
        );
        return;
    }
    let error = refusal(Input::open(&path, &options()));
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("sudo cat"), "{error}");
}

#[test]
fn names_that_are_no_utf8_are_read_and_shown() {
    let dir = Dir::new();
    let path = dir.file(OsStr::from_bytes(b"d\xffump\x1b.rdb"), dump());
    let input = Input::open(&path, &options()).unwrap();
    assert_eq!(input.bytes(), dump());
    assert!(
        input.name().ends_with("d\\xffump\\x1b.rdb\""),
        "{}",
        input.name()
    );
    let path = dir.file(OsStr::from_bytes(b"\xff"), b"PK\x03\x04");
    let text = refusal(Input::open(path, &options())).to_string();
    assert!(text.contains("unzip -p FILE"), "{text}");
}

#[test]
fn a_file_that_changes_under_us_is_noticed() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", dump());
    let input = Input::open(&path, &options()).unwrap();
    assert_eq!(input.changed_since_open().unwrap(), None);
    assert_eq!(input.replaced(), None);

    // What Redis does: a new file takes the name. The open one is whole.
    dir.file("temp", b"REDIS0011 another");
    fs::rename(dir.path("temp"), &path).unwrap();
    assert_eq!(input.changed_since_open().unwrap(), None);
    assert_eq!(
        input.replaced(),
        Some(Fact::Replaced { path: path.clone() })
    );
    assert_eq!(input.bytes(), dump());

    // What nobody should do.
    let input = Input::open(&path, &options()).unwrap();
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"more")
        .unwrap();
    let change = input.changed_since_open().unwrap().expect("a change");
    assert_eq!((change.before.size, change.now.size), (17, 21));
    assert_eq!(
        change.to_string(),
        "the file was written to while it was open: 17 bytes before, 21 bytes now"
    );
    fs::remove_file(&path).unwrap();
    assert!(input.replaced().is_some());
}

#[test]
fn a_copy_of_a_file_that_changes_meanwhile_is_refused() {
    let dir = Dir::new();
    let mut bytes = dump();
    bytes.resize(9 << 20, 7);
    let path = dir.file("dump.rdb", &bytes);
    let mut options = options();
    options.map = false;
    let mut told = 0;
    let opened = Source::file(&path).open(&options, &mut |progress| {
        told += 1;
        assert_eq!(
            (progress.of, progress.input),
            (Some(9 << 20), path.to_str().unwrap())
        );
        assert!(progress.read >= progress.spooled && progress.spooled > 0);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"more")
            .unwrap();
        Ok(())
    });
    let error = refusal(opened);
    assert!(
        error.to_string().contains("written to while it was open"),
        "{error}"
    );
    assert_eq!(told, 2, "after 4 MiB and after 8");
}

#[test]
fn the_progress_can_stop_the_copying() {
    let dir = Dir::new();
    let mut bytes = dump();
    bytes.resize(9 << 20, 7);
    let path = dir.file("dump.rdb", &bytes);
    let mut options = options();
    options.map = false;
    let opened = Source::file(&path).open(&options, &mut |_| {
        Err(Error::new(ErrorKind::Interrupted, "interrupted"))
    });
    assert_eq!(refusal(opened).kind(), ErrorKind::Interrupted);
}

#[test]
fn a_spool_that_cannot_be_made_is_said() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", dump());
    let mut options = Options::new("/nonexistent");
    assert!(Input::open(&path, &options).is_ok(), "no spool is needed");
    options.map = false;
    let text = refusal(Input::open(&path, &options)).to_string();
    assert!(
        text.contains("/nonexistent") && text.contains("--spool-dir"),
        "{text}"
    );
}

fn names(inputs: &Inputs) -> Vec<&str> {
    inputs
        .sources()
        .iter()
        .map(|source| {
            source
                .path()
                .map_or("-", |path| path.file_name().unwrap().to_str().unwrap())
        })
        .collect()
}

fn found<P: AsRef<Path>>(paths: &[P]) -> Result<Inputs> {
    Inputs::find(paths, options())
}

fn not_found<P: AsRef<Path>>(paths: &[P]) -> Error {
    match Inputs::find(paths, options()) {
        Err(error) => error,
        Ok(inputs) => panic!("found {inputs:?}"),
    }
}

#[test]
fn a_directory_gives_its_dumps_in_natural_order() {
    let dir = Dir::new();
    for shard in [10, 2, 1] {
        dir.file(format!("shard-{shard}.rdb"), dump());
    }
    dir.file("without-a-suffix", dump());
    dir.file("empty-shard-7.rdb", b"");
    dir.file(".hidden.rdb", dump());
    dir.file("temp-4711.rdb", dump());
    dir.file("README.txt", b"hello");
    dir.file("below/shard-3.rdb", dump());
    symlink("shard-2.rdb", dir.path("latest")).unwrap();
    dir.fifo("pipe");
    let mut inputs = found(&[dir.path("")]).unwrap();
    assert_eq!(
        names(&inputs),
        [
            "empty-shard-7.rdb",
            "latest",
            "shard-1.rdb",
            "shard-10.rdb",
            "without-a-suffix"
        ],
        "the first name of a file in two names is taken"
    );
    let [
        Fact::Ignored {
            others: 5,
            hidden: 1,
            names,
            ..
        },
    ] = inputs.facts()
    else {
        panic!("{:?}", inputs.facts());
    };
    for ignored in [
        "README.txt",
        "below: directory",
        "temp-4711.rdb: a save",
        "pipe: no regular",
        "shard-2.rdb: the same file as latest",
    ] {
        assert!(
            names.iter().any(|name| name.starts_with(ignored)),
            "{ignored} in {names:?}"
        );
    }
    // The gap is an error, not a silence.
    let error = inputs.open(0, &mut |_| Ok(())).unwrap_err();
    assert!(
        error.to_string().contains("empty-shard-7.rdb: is empty"),
        "{error}"
    );
    assert_eq!(inputs.open(1, &mut |_| Ok(())).unwrap().bytes(), dump());
}

#[test]
fn a_directory_that_gives_nothing_says_what_is_in_it() {
    let dir = Dir::new();
    fs::create_dir(dir.path("empty")).unwrap();
    let error = not_found(&[dir.path("empty")]);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains(
            "empty: the directory holds no dump; looked for are files that begin with REDIS"
        ),
        "{error}"
    );
    dir.file("texts/a.txt", b"hello");
    dir.file("texts/.rdb", dump());
    let error = not_found(&[dir.path("texts")]);
    assert!(
        error
            .to_string()
            .contains(": 1 not taken (a.txt), 1 hidden and not looked at; looked for are files"),
        "{error}"
    );
    dir.file("links/a.rdb", dump());
    symlink("gone", dir.path("links/b.rdb")).unwrap();
    let error = not_found(&[dir.path("links")]);
    assert_eq!(
        error.kind(),
        ErrorKind::Io,
        "a link that leads nowhere may be a missing shard"
    );
    assert!(
        error
            .to_string()
            .contains("links/b.rdb: cannot be read, and may be a dump"),
        "{error}"
    );
}

#[test]
fn paths_that_make_no_sense_are_refused() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", dump());
    symlink("dump.rdb", dir.path("link")).unwrap();
    let none: [&Path; 0] = [];
    assert!(not_found(&none).to_string().contains("no input is named"));
    assert!(not_found(&["-", "-"]).to_string().contains("named twice"));
    let error = not_found(&[path.clone(), dir.path("link")]);
    assert!(
        error.to_string().contains("link: is the same file as"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Usage);
    let error = not_found(&["gs://bucket/key"]);
    assert!(
        error
            .to_string()
            .ends_with("gcloud storage cat gs://bucket/key | rdbridge load - …"),
        "{error}"
    );
    assert_eq!(
        names(&found(&[Path::new("-"), &path]).unwrap()),
        ["-", "dump.rdb"]
    );
}

#[test]
fn the_directory_of_an_append_only_file_gives_its_base_and_the_increments() {
    let dir = Dir::new();
    dir.file("data/dump.rdb", dump());
    dir.file("data/appendonlydir/appendonly.aof.2.base.rdb", dump());
    dir.file("data/appendonlydir/appendonly.aof.1.base.rdb", dump());
    let increment = dir.file(
        "data/appendonlydir/appendonly.aof.3.incr.aof",
        b"*1\r\n$4\r\nPING\r\n",
    );
    dir.file(
        "data/appendonlydir/appendonly.aof.manifest",
        "file appendonly.aof.2.base.rdb seq 2 type b\n\
         file appendonly.aof.1.base.rdb seq 1 type h\n\
         file appendonly.aof.3.incr.aof seq 3 type i\n",
    );
    let aof_dir = dir.path("data/appendonlydir");
    let mut inputs = found(&[&aof_dir]).unwrap();
    assert_eq!(names(&inputs), ["appendonly.aof.2.base.rdb"]);
    let input = inputs.open(0, &mut |_| Ok(())).unwrap();
    let increments = input.newer_writes().expect("increments");
    assert_eq!(increments.files, [(increment.clone(), Some(14))]);

    // The base alone says the same.
    let input = Input::open(
        dir.path("data/appendonlydir/appendonly.aof.2.base.rdb"),
        &options(),
    )
    .unwrap();
    assert_eq!(
        input.newer_writes().unwrap().files,
        [(increment.clone(), Some(14))]
    );

    // An increment that is empty holds no writes: a server makes it so at each rewrite.
    fs::write(&increment, b"").unwrap();
    let input = Input::open(
        dir.path("data/appendonlydir/appendonly.aof.2.base.rdb"),
        &options(),
    )
    .unwrap();
    assert!(input.newer_writes().is_none() && !input.facts().is_empty());

    // The data directory above: its dump, and a note of what lies beside it.
    let inputs = found(&[dir.path("data")]).unwrap();
    assert_eq!(names(&inputs), ["dump.rdb"]);
    assert!(
        inputs.facts().contains(&Fact::AofBeside {
            dir: aof_dir.clone()
        }),
        "{:?}",
        inputs.facts()
    );
    fs::remove_file(dir.path("data/dump.rdb")).unwrap();
    let error = not_found(&[dir.path("data")]);
    assert!(
        error
            .to_string()
            .contains("name the directory of the append-only file"),
        "{error}"
    );

    // A dump that does not belong to it: which one is meant?
    dir.file("data/appendonlydir/dump.rdb", dump());
    let error = not_found(&[&aof_dir]);
    assert!(
        error
            .to_string()
            .contains("dump.rdb, which is not part of it"),
        "{error}"
    );

    dir.file(
        "commands/appendonly.aof.manifest",
        "file appendonly.aof.1.incr.aof seq 1 type i\n",
    );
    let error = not_found(&[dir.path("commands")]);
    assert!(error.to_string().contains("names no base file"), "{error}");
}

#[test]
fn a_second_pass_gets_the_same_file_or_an_error() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", dump());
    let mut options = options();
    options.map = false;
    // No room that is known of: nothing is kept.
    options.spool_dir = dir.path("spool");
    let mut inputs = Inputs::find(&[&path], options).unwrap();
    assert!(!inputs.need().keeps_all);
    fs::create_dir(dir.path("spool")).unwrap();
    let open = |inputs: &mut Inputs| inputs.open(0, &mut |_| Ok(()));
    drop(open(&mut inputs).unwrap());
    drop(open(&mut inputs).expect("opened again"));
    dir.file("new", dump());
    fs::rename(dir.path("new"), &path).unwrap();
    let error = open(&mut inputs).unwrap_err();
    assert!(
        error.to_string().contains("not the file any more"),
        "{error}"
    );
}

#[test]
fn what_is_kept_is_not_opened_again() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", dump());
    for map in [true, false] {
        let mut options = options();
        options.map = map;
        let mut inputs = Inputs::find(&[&path], options).unwrap();
        let first = inputs.open(0, &mut |_| Ok(())).unwrap();
        let second = inputs.open(0, &mut |_| Ok(())).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(inputs.need().spooled, usize::from(!map));
    }
    // A pipe comes only once.
    let fifo = dir.fifo("pipe");
    let mut inputs = found(&[&fifo]).unwrap();
    assert_eq!((inputs.need().spooled, inputs.need().unknown), (1, 1));
    let writer = thread::spawn(move || fs::write(fifo, dump()));
    let first = inputs.open(0, &mut |_| Ok(())).unwrap();
    writer.join().unwrap().unwrap();
    let second = inputs.open(0, &mut |_| Ok(())).unwrap();
    assert!(Arc::ptr_eq(&first, &second) && first.bytes() == dump());
    assert_eq!(
        inputs.open(1, &mut |_| Ok(())).unwrap_err().kind(),
        ErrorKind::Usage
    );
}
