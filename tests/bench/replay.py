#!/usr/bin/env python3
"""Reads what a boot read: replay.py TRACE DISK [FILE…]. No thinking time.

First the files (kernel and initrd) whole, from beginning to end, as whatever loads them does; then the disk: TRACE has a line "OFFSET
LENGTH" for each read, in order, and the host's kernel is told to read nothing else, as Rondo tells it for a machine's disk: guests read
ahead by themselves. Prints seconds and bytes read. replay.py --trace LOG turns the log of nbdkit's log filter into
such a trace.
"""
import os
import re
import sys
import time

PIECE = 1 << 17  # of what is read whole

if sys.argv[1] == "--trace":
    for line in open(sys.argv[2]):
        found = re.search(r"\bRead .*offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+)", line)
        if found:
            print(int(found[1], 16), int(found[2], 16))
    sys.exit()

trace = [tuple(map(int, line.split())) for line in open(sys.argv[1])]
start = time.monotonic()
total = 0
for path in sys.argv[3:]:
    fd = os.open(path, os.O_RDONLY)
    while data := os.read(fd, PIECE):
        total += len(data)
    os.close(fd)
fd = os.open(sys.argv[2], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
for offset, length in trace:
    data = os.pread(fd, length, offset)
    if len(data) != length:
        sys.exit(f"short read at {offset}")
    total += length
print(f"{time.monotonic() - start:.2f} {total}")
