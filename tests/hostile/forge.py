#!/usr/bin/env python3
"""Changes a site as somebody who has its key could: with other tools than Rondo's, and validly signed (by minisign).

    forge.py SITE KEY [--manifest NAME:VERSION PATTERN REPLACEMENT]… [--catalog PATTERN REPLACEMENT]… [--manifest-key FILE]
             [--keep-number]

Patterns are Python's, multi-line, replaced once; a replacement may hold \\n, and \\xHH for any byte. A changed manifest is
stored under its new name, which the catalog then has in its line. The catalog gets the next number, unless --keep-number.
--manifest-key signs manifests with another key than the catalog.
"""
import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile


def sign(text, key):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text")
        with open(path, "wb") as f:
            f.write(text)
        subprocess.run(["minisign", "-S", "-s", key, "-m", path, "-x", path + ".sig", "-c", "forged", "-t", "forged"], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with open(path + ".sig", "rb") as f:
            return text + b"---\n" + f.read()


def text_of(data):
    return data[:data.index(b"\n---\n") + 1]


def change(text, pattern, replacement):
    to = re.sub(rb"\\x([0-9a-f]{2})|\\n", lambda m: bytes.fromhex(m[1].decode()) if m[1] else b"\n", os.fsencode(replacement))
    changed, count = re.subn(os.fsencode(pattern), lambda m: to, text, count=1, flags=re.M)
    if count == 0:
        sys.exit(f"forge: nothing matches {pattern!r}")
    return changed


def read(path):
    with open(path, "rb") as f:
        return f.read()


def put_object(site, data):
    name = hashlib.sha256(data).hexdigest()
    os.makedirs(os.path.join(site, "objects", name[:2]), exist_ok=True)
    with open(os.path.join(site, "objects", name[:2], name), "wb") as f:
        f.write(data)
    return name


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("site")
    parser.add_argument("key")
    parser.add_argument("--manifest", nargs=3, action="append", default=[])
    parser.add_argument("--catalog", nargs=2, action="append", default=[])
    parser.add_argument("--manifest-key")
    parser.add_argument("--keep-number", action="store_true")
    a = parser.parse_args()
    catalog = text_of(read(os.path.join(a.site, "catalog.rondo")))
    for image, pattern, replacement in a.manifest:
        name, version = image.split(":")
        line = re.search(f"^image {re.escape(name)} {re.escape(version)} [0-9]+ ([0-9a-f]+)$".encode(), catalog, re.M)
        old = line[1].decode()
        text = change(text_of(read(os.path.join(a.site, "objects", old[:2], old))), pattern, replacement)
        new = put_object(a.site, sign(text, a.manifest_key or a.key))
        catalog = catalog.replace(old.encode(), new.encode())
    if not a.keep_number:
        catalog = re.sub(rb"^number (\d+)$", lambda m: b"number %d" % (int(m[1]) + 1), catalog, count=1, flags=re.M)
    for pattern, replacement in a.catalog:
        catalog = change(catalog, pattern, replacement)
    with open(os.path.join(a.site, "catalog.rondo.new"), "wb") as f:
        f.write(sign(catalog, a.key))
    os.rename(os.path.join(a.site, "catalog.rondo.new"), os.path.join(a.site, "catalog.rondo"))


if __name__ == "__main__":
    main()
