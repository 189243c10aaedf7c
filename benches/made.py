"""Dumps that the benchmarks make themselves, byte by byte: what a Redis 7.0 would have saved, without filling one."""
import pathlib
import struct


def length(n):
    """A length as RDB writes it."""
    if n < 64:
        return bytes([n])
    if n < 1 << 14:
        return struct.pack(">H", 0x4000 | n)
    return b"\x80" + struct.pack(">I", n)


def string(data):
    return length(len(data)) + data


def listpack(entries):
    """A listpack of texts of up to 4095 bytes, each with its length behind it in one byte: up to 125."""
    out = bytearray()
    for entry in entries:
        head = bytes([0x80 | len(entry)]) if len(entry) < 64 else struct.pack(">H", 0xE000 | len(entry))
        out += head + entry + bytes([len(head) + len(entry)])
    return struct.pack("<IH", len(out) + 7, min(len(entries), 65535)) + bytes(out) + b"\xff"


def write(path, records):
    """A dump without a checksum, which a file of zeros in its place says."""
    part = pathlib.Path(f"{path}.part")
    with open(part, "wb", buffering=1 << 20) as out:
        out.write(b"REDIS0010\xfe\x00")
        for record in records:
            out.write(record)
        out.write(b"\xff" + bytes(8))
    part.rename(path)


def small_hashes(path, keys):
    """Hashes of two fields in listpacks, which Redis before 7.0 does not know."""
    def records():
        for n in range(keys):
            body = listpack([b"name", b"user %09d" % n, b"mail", b"u%09d@example.com" % n])
            yield b"\x10" + string(b"user:%09d" % n) + string(body)
    write(path, records())


def long_list(path, size):
    """One list of so many bytes, in elements of 100 bytes and nodes of 8 kB."""
    nodes = max(1, size // 8000)

    def records():
        yield b"\x12" + string(b"list") + length(nodes)
        for n in range(nodes):
            yield b"\x02" + string(listpack([b"%010d" % (n * 80 + i) + b"x" * 90 for i in range(80)]))
    write(path, records())
