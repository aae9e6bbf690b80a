"""What a codec would make of the Debian disk's chunks: stored bytes, and the rates of one processor.

The blocks of the disk, each once and in its order, in chunks of 32; every sixteenth chunk is taken. Chunks that do not shrink are counted raw.
"""
import ctypes
import time

import pieces

EVERY = 16
BLOCKS_IN_CHUNK = 32


def load_codecs():
    """(name, compress(bytes, out), decompress(bytes, length, out)); both return bytes written."""
    lz4, zstd = ctypes.CDLL("liblz4.so.1"), pieces.zstd
    size_t, pointer = ctypes.c_size_t, ctypes.c_char_p
    zstd.ZSTD_decompress.argtypes, zstd.ZSTD_decompress.restype = [pointer, size_t, pointer, size_t], size_t

    def lz4_hc(level):
        return (f"LZ4-HC {level}", lambda data, out: lz4.LZ4_compress_HC(data, out, len(data), len(out), level),
                lambda data, out: lz4.LZ4_decompress_safe(data, out, len(data), len(out)))

    def zstd_at(level):
        return (f"zstd {level}", lambda data, out: zstd.ZSTD_compress(out, len(out), data, len(data), level),
                lambda data, out: zstd.ZSTD_decompress(out, len(out), data, len(data)))

    return [lz4_hc(7), lz4_hc(9), lz4_hc(12), zstd_at(3), zstd_at(6), zstd_at(pieces.LEVEL), zstd_at(12)]


def sample_chunks(disk):
    blocks = pieces.Pieces(disk, pieces.BLOCK)
    order = list(dict((digest, i) for i, digest in reversed(blocks.digests.items())).values())[::-1]
    return [b"".join(map(blocks.read, order[i:i + BLOCKS_IN_CHUNK])) for i in range(0, len(order), BLOCKS_IN_CHUNK * EVERY)]


def run(bench):
    chunks = sample_chunks(bench.image() / "disk")
    bench.say("codecs")
    raw = sum(map(len, chunks))
    out = ctypes.create_string_buffer(2 * BLOCKS_IN_CHUNK * pieces.BLOCK)
    rows = []
    for name, compress, decompress in load_codecs():
        start = time.process_time()
        stored = []
        for chunk in chunks:
            length = compress(chunk, out)
            stored.append(ctypes.string_at(out, length))
        middle = time.process_time()
        for data in stored:
            decompress(data, out)
        end = time.process_time()
        size = sum(min(len(data), len(chunk)) for data, chunk in zip(stored, chunks))
        bench.record("codecs", codec=name, share=size / raw, encode_rate=raw / (middle - start), decode_rate=raw / (end - middle))
        rows.append([name, f"{size / raw:.3f}", f"{raw / 1e6 / (middle - start):.0f}", f"{raw / 1e6 / (end - middle):.0f}"])
    bench.print_table(f"Codecs, on every {EVERY}th chunk of the Debian disk, one processor",
                      ["", "stored / raw", "encode MB/s", "decode MB/s"], rows)
