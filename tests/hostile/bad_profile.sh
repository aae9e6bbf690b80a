#!/bin/bash
# A boot profile that is another image's, cut short, or made up: it is ignored, with a line that says why, and the image is
# published whole. Only one that is not there is an error, before anything is made.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

make_disk "$TMPDIR/disk" 6
size=$(stat -c %s "$TMPDIR/disk")
last=$((size / 4096 - 1))
version=0
head=$'rondo-profile 1\nmember disk '$size$'\n'

ignored() { # WHAT MESSAGE: publishes with $TMPDIR/profile
	version=$((version + 1))
	publish machine $version "$TMPDIR/disk" --profile "$TMPDIR/profile"
	status_is 0 "$1: published"
	like "$err" "profile $TMPDIR/profile is ignored: .*$2" "$1: it says why"
	unlike "$(cat "$site/objects/${out:0:2}/$out")" '(^|'$'\n'')boot ' "$1: no boot packs"
}
bad() { # WHAT MESSAGE TEXT
	printf %s "$3" >"$TMPDIR/profile"
	ignored "$1" "$2"
}

bad "of a larger image" "its member disk has $((size + 4096)) bytes, this image's $size" $'rondo-profile 1\nmember disk '$((size + 4096))$'\nread disk 0 1\n'
bad "of another member" "a member kernel, which this image does not have" "$head"$'member kernel 4096\nread kernel 0 1\n'
bad "cut in a line" "line 4: cut short" "$head"$'read disk 0 1\nread dis'
bad "cut before the reads" "without a read" "$head"
bad "empty" "without a read" ""
bad "beyond the end" "line 3: a read beyond the member's end" "$head"$'read disk '$last$' 2\n'
bad "far beyond the end" "line 3: a read beyond" "$head"$'read disk 18446744073709551615 2\n'
bad "of 2^64 blocks" "line 3: a read" "$head"$'read disk 0 18446744073709551616\n'
bad "negative" "line 3: a read needs" "$head"$'read disk -1 1\n'
bad "a path for a name" "line 2: a name that no member may have" $'rondo-profile 1\nmember ../../etc/passwd 100\nread ../../etc/passwd 0 1\n'
bad "another version" "line 1: not a boot profile of version 1" $'rondo-profile 2\n'
bad "with escapes" "line 3: cut short, too long, or not plain text" "$head"$'read \e[2Jdisk 0 1\n'
head -c 100000 /dev/urandom >"$TMPDIR/profile"
ignored "random bytes" "line 1: "
truncate -s 1G "$TMPDIR/profile"
ignored "a gibibyte" "larger than any may be"

# One that reads every block by itself, backwards, and all of it again: good, if not wise.
python3 - "$last" >"$TMPDIR/profile" <<'PYTHON'
import sys
last = int(sys.argv[1])
print("rondo-profile 1", f"member disk {(last + 1) * 4096}", sep="\n")
for block in range(last, -1, -1):
    print(f"read disk {block} 1")
print(f"read disk 0 {last + 1}")
PYTHON
publish machine backwards "$TMPDIR/disk" --profile "$TMPDIR/profile"
status_is 0 "backwards: published"
unlike "$err" ignored "backwards: used"
ok "the site is whole" check_site "$site"

site=$TMPDIR/none
publish machine 1 "$TMPDIR/disk" --profile "$TMPDIR/missing"
status_is 3 "a profile that is not there"
like "$err" "cannot read $TMPDIR/missing" "is named"
mkfifo "$TMPDIR/pipe"
publish machine 1 "$TMPDIR/disk" --profile "$TMPDIR/pipe"
status_is 2 "a pipe is not waited for"
publish machine 1 "$TMPDIR/disk" --profile "$TMPDIR"
status_is 2 "nor is a folder read"
not_ok "nothing was made" test -e "$site"
done_testing
