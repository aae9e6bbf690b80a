#!/usr/bin/env python3
"""Checks a site's folder without any of Rondo's code: `check_site.py DIR`.

What the catalog names must be there and hash to its name: manifests, catalog shards, and the packs and logos that manifests
name. Every file among the objects must be whole, and lie where its name says. Nothing but what the format knows may lie in the folder.
Prints NAME:VERSION of each version; exit code 1 and a line on stderr at the first fault. A folder without a catalog is a site
that was not published to yet: then only its objects are checked.
"""
import hashlib
import os
import re
import sys

HEX = re.compile(r"[0-9a-f]{64}")


def fail(text):
    sys.exit(f"check_site: {text}")


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        fail(str(e))


def get_object(site, name):
    data = read(os.path.join(site, "objects", name[:2], name))
    if hashlib.sha256(data).hexdigest() != name:
        fail(f"object {name} does not hash to its name")
    return data


def signed_lines(data, what):
    text, mark, signature = data.partition(b"\n---\n")
    if not mark or signature.count(b"\n") != 4:
        fail(f"{what} is not a signed text")
    return [line.split(" ") for line in text.decode().split("\n")]


def check_roots(site, lines):
    """Every root up to the one that the catalog names is there, and that one is what it names."""
    for number, text_hash in [line[1:] for line in lines if line[0] == "root"]:
        for i in range(2, int(number) + 1):
            text, mark, signatures = read(os.path.join(site, "roots", str(i))).partition(b"---\n")
            if f"\nnumber {i}\n".encode() not in text or signatures.count(b"\n") % 4 != 0 or not signatures:
                fail(f"roots/{i} is not signed root {i}")
        if hashlib.sha256(text).hexdigest() != text_hash:
            fail(f"roots/{number} is not the one that the catalog names")


def main(site):
    for folder, folders, files in os.walk(os.path.join(site, "objects")):
        for name in files:
            if not HEX.fullmatch(name) or os.path.basename(folder) != name[:2]:
                fail(f"{folder}/{name} is no object")
            get_object(site, name)
    strange = set(os.listdir(site)) - {"catalog.rondo", "objects", "roots", ".lock", ".unfinished"}
    if strange:
        fail(f"what is {strange}?")
    if not os.path.exists(os.path.join(site, "catalog.rondo")):
        return
    lines = signed_lines(read(os.path.join(site, "catalog.rondo")), "the catalog")
    check_roots(site, lines)
    for shard in [line for line in lines if line[0] == "shard"]:
        lines += [line.split(" ") for line in get_object(site, shard[2]).decode().splitlines()]
    images = [line[1:] for line in lines if line[0] == "image"]
    if not images:
        fail("the catalog offers nothing")
    for name, version, serial, manifest in images:
        said = signed_lines(get_object(site, manifest), f"manifest {manifest}")
        if [line for line in said if line[0] in ("name", "version", "serial")] != [["name", name], ["version", version], ["serial", serial]]:
            fail(f"manifest {manifest} is not of {name} {version} {serial}")
        for member in [line for line in said if line[0] == "member" and line[3] != "-"]:
            pack, size = member[3].split(",")[1:3]
            if len(get_object(site, pack)) != int(size):
                fail(f"pack {pack} does not have {size} bytes")
        for logo in [line for line in said if line[0] == "opt-logo"]:
            if len(get_object(site, logo[1])) != int(logo[2]):
                fail(f"logo {logo[1]} does not have {logo[2]} bytes")
        print(f"{name}:{version}")


if __name__ == "__main__":
    main(sys.argv[1])
