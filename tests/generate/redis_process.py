"""A server process and two clients for it, with the standard library only: what the data generators share."""
import os
import shutil
import socket
import subprocess
import tempfile
import time


class ReplyError(Exception):
    """The server answered with an error."""


def encode(args):
    """One command as RESP."""
    out = [b"*%d\r\n" % len(args)]
    for a in args:
        if isinstance(a, str):
            a = a.encode()
        elif not isinstance(a, bytes):
            a = str(a).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(a), a))
    return b"".join(out)


class Client:
    """Calls a server one command at a time: `client("SET", "key", 1)`; an error reply raises ReplyError."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __call__(self, *args):
        self.socket.sendall(encode(args))
        return self._reply()

    def _reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise ReplyError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            n = int(rest)
            return None if n < 0 else self.file.read(n + 2)[:-2]
        if kind == b"*":
            n = int(rest)
            return None if n < 0 else [self._reply() for _ in range(n)]
        raise ConnectionError("no RESP: %r" % line[:80])

    def info(self, section="all"):
        """INFO as a dict of text."""
        lines = self("INFO", section).decode().splitlines()
        return dict(x.split(":", 1) for x in lines if ":" in x)

    def has(self, command):
        """Does the server know this command? Asked without arguments: refused either way, but how?"""
        try:
            self(command)
        except ReplyError as e:
            return "unknown command" not in str(e).lower()
        return True

    def has_config(self, name):
        return bool(self("CONFIG", "GET", name))


class Pipe:
    """Sends commands in batches without reading in between, and checks every reply for an error."""

    BATCH = 1 << 20

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.parts, self.size, self.commands, self.batches = [], 0, 0, 0

    def add(self, *args):
        data = encode(args)
        self.parts.append(data)
        self.size += len(data)
        self.commands += 1
        if self.size > self.BATCH:
            self.flush()

    def flush(self):
        # An ECHO marks the end of the batch's replies. No reply of a writing command can hold its text.
        self.batches += 1
        mark = b"end-of-batch-%d" % self.batches
        self.parts.append(encode((b"ECHO", mark)))
        self.socket.sendall(b"".join(self.parts))
        self.parts, self.size = [], 0
        end = b"$%d\r\n%s\r\n" % (len(mark), mark)
        got = bytearray()
        while not got.endswith(end):
            part = self.socket.recv(1 << 20)
            if not part:
                raise SystemExit("the server closed the connection")
            got += part
        at = 0 if got[:1] == b"-" else got.find(b"\r\n-")
        if at >= 0:
            raise SystemExit("the server refused a command: %r" % bytes(got[at:at + 200]))


def free_port():
    """A free loopback port whose cluster bus port (10,000 above) is free too."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            port = a.getsockname()[1]
            try:
                b.bind(("127.0.0.1", port + 10000))
            except (OSError, OverflowError):
                continue
            return port


def servers_dir():
    return os.environ.get("RDBRIDGE_SERVERS") or os.path.expanduser("~/.cache/rdbridge/servers")


def present(name):
    """Is this server there?"""
    return os.path.exists(os.path.join(servers_dir(), name, "redis-server"))


class Server:
    """A named server of tests/servers.sh on a free loopback port in a directory of its own; use it with `with`."""

    def __init__(self, name, args=(), directory=None):
        self.name, self.args = name, list(args)
        self.product, number = name.split("-")
        self.version = tuple(int(x) for x in number.split("."))
        self.owns_dir = directory is None
        self.dir = directory or tempfile.mkdtemp(prefix="rdbridge-gen-")

    def __enter__(self):
        self.port = free_port()
        program = os.path.join(servers_dir(), self.name, "redis-server")
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--daemonize", "no", "--save", "",
                   "--dir", self.dir, "--logfile", os.path.join(self.dir, "server.log")]
        if self.version >= (7, 0):
            command += ["--enable-debug-command", "yes"]
        self.process = subprocess.Popen(command + self.args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, cwd=self.dir)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait(self):
        deadline = time.time() + 600
        while time.time() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError("%s does not start: %s" % (self.name, self.log()))
            try:
                client = Client(self.port)
                client("PING")
                self.client = client
                return
            except (OSError, ReplyError):
                time.sleep(0.01)
        raise RuntimeError("%s does not answer" % self.name)

    def log(self):
        try:
            with open(os.path.join(self.dir, "server.log"), errors="replace") as f:
                return "".join(f.readlines()[-20:])
        except OSError:
            return "no log"

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        if self.owns_dir:
            shutil.rmtree(self.dir, ignore_errors=True)
