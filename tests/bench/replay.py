#!/usr/bin/env python3
"""Reads a file as a boot did: replay.py TRACE FILE. TRACE has a line "OFFSET LENGTH" for each read, in order; no thinking time.

Prints seconds and bytes read. replay.py --trace LOG turns the log of nbdkit's log filter into such a trace.
"""
import os
import re
import sys
import time

if sys.argv[1] == "--trace":
    for line in open(sys.argv[2]):
        found = re.search(r"\bRead .*offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+)", line)
        if found:
            print(int(found[1], 16), int(found[2], 16))
    sys.exit()

trace = [tuple(map(int, line.split())) for line in open(sys.argv[1])]
start = time.monotonic()
fd = os.open(sys.argv[2], os.O_RDONLY)
total = 0
for offset, length in trace:
    data = os.pread(fd, length, offset)
    if len(data) != length:
        sys.exit(f"short read at {offset}")
    total += length
print(f"{time.monotonic() - start:.2f} {total}")
