"""What other ways to cut a disk would store and fetch: pieces of one size, and casync's.

Pieces of one size are named by their hash, compressed one by one with the codec and level that Rondo uses (zstd 9), and not stored if they
are zero. casync's are its own files.
"""
import bisect
import concurrent.futures
import ctypes
import hashlib
import os
import struct

LEVEL = 9
BLOCK = 4096
REFERENCE = 32  # bytes of a list of pieces, for each
zstd = ctypes.CDLL("libzstd.so.1")
zstd.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
zstd.ZSTD_compress.restype = ctypes.c_size_t  # an error is larger than any length


def compressed_length(data):
    out = ctypes.create_string_buffer(len(data))
    return min(zstd.ZSTD_compress(out, len(out), data, len(data), LEVEL), len(data))


def compressed_total(read, which):
    """Bytes of read(i), compressed, for all i in `which`, on all processors."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return sum(pool.map(lambda i: compressed_length(read(i)), which))


class Pieces:
    """A disk in pieces of `size`; digests[i] is the hash of the i-th, and missing if that is zero."""

    def __init__(self, path, size):
        self.size, self.fd, self.digests = size, os.open(path, os.O_RDONLY), {}
        end, zero = 0, bytes(size)
        while True:
            try:
                start = os.lseek(self.fd, end, os.SEEK_DATA)
            except OSError:  # no more data
                return
            end = os.lseek(self.fd, start, os.SEEK_HOLE)
            for i in range(start // size, (end + size - 1) // size):
                if i not in self.digests and (data := self.read(i)) != zero[:len(data)]:
                    self.digests[i] = hashlib.sha256(data).digest()

    def read(self, i):
        return os.pread(self.fd, self.size, i * self.size)

    def touched(self, trace):
        """The pieces that a boot reads, in its order, each once."""
        order = {}
        for offset, length in trace:
            for i in range(offset // self.size, (offset + length - 1) // self.size + 1):
                if i in self.digests:
                    order.setdefault(self.digests[i], i)
        return list(order.values())

    def new_since(self, old):
        """The pieces that are not in another disk, each once."""
        known, new = set(old.digests.values()), {}
        for i, digest in self.digests.items():
            if digest not in known:
                new.setdefault(digest, i)
        return list(new.values())

    def stored(self, which):
        """Bytes of these pieces, compressed."""
        return compressed_total(self.read, which)

    def index_bytes(self):
        return len(self.digests) * REFERENCE


def boot_limit(path, trace, blocks_in_chunk=32):
    """Bytes of the blocks that a boot reads, each once, in its order, compressed in chunks: the least that can be fetched."""
    blocks = Pieces(path, BLOCK)
    order = blocks.touched(trace)
    return compressed_total(lambda i: b"".join(map(blocks.read, order[i:i + blocks_in_chunk])),
                            range(0, len(order), blocks_in_chunk))


def whole_files(paths, piece=32 * BLOCK):
    """Bytes of whole files, compressed in chunks."""
    total = 0
    for path in paths:
        with open(path, "rb") as file:
            data = file.read()
        total += compressed_total(lambda i: data[i:i + piece], range(0, len(data), piece))
    return total


def casync_pieces(index, trace):
    """The names of the pieces that a boot through casync's index needs, in its order, each once."""
    # casync(5), "index": a header of 48 bytes and one of 16, then the end and the name of each piece, then a tail of 40.
    table = list(struct.iter_unpack("<Q32s", index.read_bytes()[48 + 16:-40]))
    ends, names = [end for end, _ in table], {}
    for offset, length in trace:
        for i in range(bisect.bisect_right(ends, offset), bisect.bisect_left(ends, offset + length) + 1):
            names[table[i][1].hex()] = None
    return list(names)
