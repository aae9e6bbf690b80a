#!/bin/bash
# Whatever stands in a file that claims to be an exported version: import says what is wrong with it, and leaves nothing behind,
# neither in the cache nor in what is trusted.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign faketime tar

make_disk "$TMPDIR/disk" 3 1
must_publish image 1 "$TMPDIR/disk"
cp -r "$site" "$TMPDIR/older"
run_rondo export "$site/image:1" "$TMPDIR/good"
[ "$status" -eq 0 ] || bail_out "export"
first=$out
cp --sparse=always "$TMPDIR/disk" "$TMPDIR/disk2"
change_disk "$TMPDIR/disk2" 4096 4096
must_publish image 2 "$TMPDIR/disk2"
run_rondo export "$site/image:2" "$TMPDIR/two"

cat >"$TMPDIR/damage" <<'END'
# damage FROM TO WHAT: an archive that is wrong in one way. Entries are [header, bytes]; what stays unsaid is as it was.
import hashlib, os, sys
source, to, what = sys.argv[1:4]
data = open(source, "rb").read()
entries, at = [], 0
while data[at]:
    n = int(data[at + 124:at + 135], 8)
    entries.append([data[at:at + 512], data[at + 512:at + 512 + n]])
    at += 512 + (n + 511) // 512 * 512
end = data[at:]

def header(name, n, kind=b"0", link=b""):
    h = bytearray(512)
    h[0:len(name)] = name
    h[100:108], h[108:116], h[116:124], h[136:148] = b"0000444\0", b"0000000\0", b"0000000\0", b"00000000000\0"
    h[124:136] = b"%011o\0" % n
    h[148:156], h[156:157], h[257:265] = b" " * 8, kind, b"ustar\0" + b"00"
    h[157:157 + len(link)] = link
    return seal(h)

def seal(h):
    h = bytearray(h)
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)

def entry(name, content, **more):
    return [header(name, len(content), **more), content]

def object_entry(content):
    name = hashlib.sha256(content).hexdigest()
    return entry(b"objects/%s/%s" % (name[:2].encode(), name.encode()), content)

def describe(old, new):
    assert old in entries[0][1]
    entries[0] = entry(b"archive.rondo", entries[0][1].replace(old, new))

def count(more, size):  # the description, as if there were so many objects more
    lines = entries[0][1].decode().splitlines()
    lines = [f"objects {int(l.split()[1]) + more}" if l.startswith("objects ") else
             f"bytes {int(l.split()[1]) + size}" if l.startswith("bytes ") else l for l in lines]
    entries[0] = entry(b"archive.rondo", ("\n".join(lines) + "\n").encode())

cut = None
if what == "empty": entries, end = [], b""
elif what == "zeros": entries, end = [], b"\0" * 4096
elif what == "noise": entries, end = [], hashlib.sha512(b"x").digest() * 100
elif what.startswith("cut "): cut = eval(what[4:], {"n": len(data)})
elif what == "no end": end = b""
elif what == "half an end": end = end[:512]
elif what == "behind the end": end += b"x"
elif what == "zeros behind the end": end += b"\0" * 512
elif what == "padding": entries[0][1] += b"\n"  # which stays outside of the size
elif what == "parent path": entries.insert(4, entry(b"../../../../tmp/evil", b"x"))
elif what == "absolute path": entries.insert(4, entry(b"/tmp/evil", b"x"))
elif what == "path in an object": entries.insert(4, entry(b"objects/../" + b"a" * 64, b"x"))
elif what == "another folder": entries[4][0] = seal(entries[4][0].replace(b"objects/", b"object5/"))
elif what == "wrong digits": entries[4][0] = seal(entries[4][0][:8] + b"zz" + entries[4][0][10:])
elif what == "link": entries.insert(4, entry(b"objects/link", b"", kind=b"2", link=b"/etc/passwd"))
elif what == "hard link": entries[4][0] = seal(entries[4][0][:156] + b"1" + entries[4][0][157:])
elif what == "folder": entries.insert(1, entry(b"objects/", b"", kind=b"5"))
elif what == "extended header": entries.insert(1, entry(b"PaxHeader", b"20 path=/etc/passwd\n", kind=b"x"))
elif what == "sparse": entries[4][0] = seal(entries[4][0][:156] + b"S" + entries[4][0][157:])
elif what == "checksum": entries[4][0] = entries[4][0][:148] + b"000000\0 " + entries[4][0][156:]
elif what == "size 0": entries[4] = entry(entries[4][0][:100].rstrip(b"\0"), b"")
elif what == "size 8 GiB": entries[4][0] = seal(entries[4][0][:124] + b"77777777777\0" + entries[4][0][136:])
elif what == "size in base 256": entries[4][0] = seal(entries[4][0][:124] + b"\x80" + b"\xff" * 11 + entries[4][0][136:])
elif what == "negative size": entries[4][0] = seal(entries[4][0][:124] + b"-0000000001\0" + entries[4][0][136:])
elif what == "another owner": entries[4][0] = seal(entries[4][0][:108] + b"0001750\0" + entries[4][0][116:])
elif what == "twice": entries.append(entries[-1]); count(1, len(entries[-1][1]))
elif what == "twice, not counted": entries.append(entries[-1])
elif what == "one too many": entries.append(object_entry(b"nobody needs this" * 99)); count(1, 17 * 99)
elif what == "one too many, not counted": entries.append(object_entry(b"nobody needs this" * 99))
elif what == "one too few": count(-1, -len(entries.pop()[1]))
elif what == "one too few, counted": entries.pop()
elif what == "no packs": n = sum(len(e[1]) for e in entries[3:]); count(-len(entries[3:]), -n); del entries[3:]
elif what == "wrong bytes": entries[-1][1] = b"x" + entries[-1][1][1:]
elif what == "wrong manifest": entries[2][1] = entries[2][1].replace(b"image", b"imagf")
elif what == "no manifest": del entries[2]
elif what == "no catalog": del entries[1]
elif what == "catalog first": entries[0], entries[1] = entries[1], entries[0]
elif what == "two catalogs": entries.insert(2, entries[1])
elif what == "catalog last": entries.append(entries.pop(1))
elif what == "altered catalog": entries[1][1] = entries[1][1].replace(b"image image 1 1", b"image image 1 2")
elif what == "huge catalog": entries[1] = entry(b"catalog.rondo", b"x" * 70000)
elif what == "another manifest": entries[2] = object_entry(b"rondo-manifest 1\n"); count(0, 0)
elif what == "described otherwise": describe(b"\nname image", b"\nname imagf")
elif what == "another version": describe(b"\nversion 1", b"\nversion 2")
elif what == "another hash": describe(b"manifest ", b"manifest 0")
elif what == "no address": describe(b"\nsite /", b"\nsite ftp://x/")
elif what == "address with a path": describe(b"\nsite /", b"\nsite /../")
elif what == "terminal": describe(b"\nname image", b"\nname \x1b[2Jimage")
elif what == "newer format": describe(b"rondo-archive 1", b"rondo-archive 2")
elif what == "one line more": entries[0] = entry(b"archive.rondo", entries[0][1] + b"opt-x y\n")
elif what == "huge": lines = entries[0][1].splitlines(); lines[-1] = b"bytes 9223372036854775807"; entries[0] = entry(b"archive.rondo", b"\n".join(lines) + b"\n")
elif what == "larger than the cache": count(0, 11 << 30)
elif what == "long description": entries[0] = entry(b"archive.rondo", entries[0][1] + b"x" * 9000)
else: sys.exit(f"no damage {what}")
out = b"".join(h + b + b"\0" * (-int(h[124:135], 8) % 512 if h[124:125].isdigit() else 0) for h, b in entries) + end
open(to, "wb").write(out if cut is None else data[:cut])
END

rm -rf "$RONDO_HOME" "$RONDO_CACHE"
run_rondo ls # the folders are made
leftovers() {
	find "$RONDO_CACHE" -type f ! -name lock -printf '%P\n'
	run_rondo trust ls
	printf '%s' "$out"
}
before=$(leftovers)
bad() { # CODE WHAT [MESSAGE]
	python3 "$TMPDIR/damage" "$TMPDIR/good" "$TMPDIR/bad" "$2" || bail_out "damage $2"
	measure timeout 20 "$BUILD/rondo" import "$TMPDIR/bad"
	local said=$err code=$status memory=$peak left
	left=$(leftovers)
	if [ "$code" -eq "$1" ] && [[ $said =~ ${3:-bad} ]] && [ "$left" = "$before" ] && [ "$memory" -lt 65536 ] && [ -z "$(tr -d '[:print:]\n' <<<"${said//…/}")" ]; then
		pass "$2: ${said##*bad: }"
	else
		fail "$2"
		diag "exit code $code ($1), memory $memory KiB, left behind: $left"
		diag "$said"
	fi
}
for what in empty zeros noise "catalog first"; do bad 5 "$what" 'nothing that rondo export wrote'; done
for cut in 1 511 512 700 1024 2000 'n//3' 'n//2' 'n-1025' 'n-1024' 'n-1000' 'n-1'; do bad 5 "cut $cut"; done
for what in "no end" "half an end"; do bad 5 "$what" 'cut short'; done
for what in "behind the end" "zeros behind the end"; do bad 5 "$what" 'behind its end'; done
for what in "parent path" "absolute path" "path in an object" "another folder" "wrong digits" "hard link" "extended header" sparse checksum \
	"negative size" "another owner" padding; do bad 5 "$what"; done
for what in link folder "size 0" "size 8 GiB" "size in base 256"; do bad 5 "$what" 'entry'; done
bad 5 twice 'in it twice'
for what in "twice, not counted" "one too many, not counted"; do bad 5 "$what"; done
bad 5 "one too many" 'does not need'
bad 5 "one too few" 'is not in it'
bad 5 "one too few, counted" 'less than it says'
bad 5 "no packs" 'is not in it'
bad 5 "wrong bytes" 'not what its name says'
bad 5 "wrong manifest" 'not what its name says'
for what in "no manifest" "another manifest"; do bad 5 "$what" 'not where it should be'; done
for what in "no catalog" "catalog last"; do bad 5 "$what" 'no catalog'; done
for what in "two catalogs" "altered catalog" "huge catalog" "another hash" "newer format" "one line more" "long description" terminal; do bad 5 "$what"; done
for what in "described otherwise" "another version"; do bad 5 "$what" 'does not name'; done
for what in "no address" "address with a path"; do bad 5 "$what" 'no proper address'; done
for what in huge "larger than the cache"; do bad 8 "$what" 'limit is'; done
run_rondo import "$TMPDIR/none"
status_is 3 "a file that is not there"
run_rondo import "$TMPDIR"
status_is 1 "a folder"
run bash -c 'timeout 20 "$BUILD/rondo" import - < <(cat "$TMPDIR/good"; yes)'
status_is 5 "a stream that does not end"
run bash -c 'cat /dev/zero | timeout 20 "$BUILD/rondo" import -'
status_is 5 "a stream of zeros"
is "$(leftovers)" "$before" "nothing is left behind"

# The same trust as in a site.
run_rondo import --require-pin "$TMPDIR/good"
status_is 5 "first contact, with --require-pin"
run faketime '+100 days' "$BUILD/rondo" import "$TMPDIR/good"
status_is 6 "first contact by an expired catalog"
"$BUILD/rondo" key new "$TMPDIR/other" >/dev/null 2>&1
run_rondo key show "$TMPDIR/other"
run_rondo trust add -- "$site/" "${out##* }" # which may begin with a dash
run_rondo import "$TMPDIR/good"
status_is 5 "another key is known of that address"
like "$err" 'rondo trust rm' "and what to do is said"
run_rondo trust rm "$site/"
is "$(leftovers)" "$before" "nothing is left behind"
cp -r "$TMPDIR/older" "$TMPDIR/forged"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/forged" "$TMPDIR/key" --manifest image:1 '^version 1$' 'version 1' --manifest-key "$TMPDIR/other"
mv "$site" "$site.away" && cp -r "$TMPDIR/forged" "$site"
RONDO_HOME=$TMPDIR/h RONDO_CACHE=$TMPDIR/c run_rondo export "$site/image:1" "$TMPDIR/forged.archive"
status_is 5 "what may not be used is not exported either"
rm -rf "$site" && mv "$site.away" "$site"

# What was seen is never lowered.
run_rondo import "$TMPDIR/two"
status_is 0 "a good one"
run_rondo import "$TMPDIR/good"
status_is 0 "an older one of which the newer catalog still names the version"
like "$err" 'older than what was seen' "which is said"
is "$out" "$first" "is taken in"
run_rondo inspect --offline "$site/image"
like "$out" 'version +2' "the newer catalog stays the one that is remembered"
run faketime '+100 days' "$BUILD/rondo" import "$TMPDIR/two"
status_is 0 "an expired catalog of a site that is known is a warning"
like "$err" 'expired' "aloud"
run faketime '+100 days' "$BUILD/rondo" import --require-fresh "$TMPDIR/two"
status_is 6 "and refused with --require-fresh"
run_rondo rmi image:1
python3 "$ROOT/tests/hostile/forge.py" "$site" "$TMPDIR/key" --catalog '^image image 1 .*\n' ''
run_rondo ls "$site"
run_rondo import "$TMPDIR/good"
status_is 7 "an older one of which the newer catalog has withdrawn the version"
run_rondo ls --json
unlike "$out" "$first" "is not taken in"

# Cut off by a signal, or by a full disk.
forget
mkfifo "$TMPDIR/pipe"
"$BUILD/rondo" import "$TMPDIR/pipe" >"$TMPDIR/int.log" 2>&1 &
pid=$!
exec 9>"$TMPDIR/pipe"
head -c 1000000 "$TMPDIR/good" >&9
wait_until 10 test -n "$(find "$RONDO_CACHE/objects" -type f)"
kill -INT "$pid"
wait "$pid"
is "$?" 11 "a signal ends it"
exec 9>&-
is "$(find "$RONDO_CACHE" -type f ! -name lock)" "" "and what was there is taken back"
run_rondo import "$TMPDIR/good"
status_is 0 "the same command works then"
done_testing
