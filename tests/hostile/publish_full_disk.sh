#!/bin/bash
# A full disk ends publishing with exit code 8 and the site as it was; with room, the same command works.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl
[ "$(id -u)" = 0 ] || skip_all "only root can mount a small file system"

mkdir "$TMPDIR/small"
mount -t tmpfs -o size=6m tmpfs "$TMPDIR/small" 2>/dev/null || skip_all "no tmpfs can be mounted"
at_exit 'umount -l "$TMPDIR/small"'
site=$TMPDIR/small/site
make_disk "$TMPDIR/old" 2 1
make_disk "$TMPDIR/new" 16 2
must_publish image 1 "$TMPDIR/old"
catalog=$(cat "$site/catalog.rondo")

publish image 2 "$TMPDIR/new"
status_is 8 "it does not fit: exit code 8"
like "$err" "no space is left in $site" "the site is named"
is "$(cat "$site/catalog.rondo")" "$catalog" "the catalog is as it was"
is "$(find "$site" -name '.rondo-tmp-*' | wc -l)" 0 "no temporary stays"
ok "the site is whole" check_site "$site"
publish image 2 "$TMPDIR/new"
status_is 8 "and again"

# At every possible place: a little more room each time.
codes=''
for free in 0 4 8 12 16 20 24 40 100 1000; do
	mount -o remount,size=6m "$TMPDIR/small"
	fill "$TMPDIR/small" "$free"
	publish image 2 "$TMPDIR/new"
	codes+="$status "
	[ "$status" -eq 8 ] || diag_file "$TMPDIR/run.err"
	run_rondo renew "$site" --key "$TMPDIR/key"
	[ "$status" -eq 0 ] || [ "$status" -eq 8 ] || fail "renew with $free KiB free ends with $status"
	python3 "$ROOT/tests/check_site.py" "$site" >/dev/null || fail "the site is not whole with $free KiB free"
done
rm -f "$TMPDIR/small/filler"
is "$codes" "8 8 8 8 8 8 8 8 8 8 " "exit code 8 wherever the room ends"

mount -o remount,size=40m "$TMPDIR/small"
publish image 2 "$TMPDIR/new"
status_is 0 "with room, the same command works"
ok "the site is whole" check_site "$site"
is "$(find "$site/.unfinished" -type f | wc -l)" 0 "nothing is left unfinished"

# The key: never half of one.
fill "$TMPDIR/small"
run_rondo key new "$TMPDIR/small/key"
status_is 8 "a key on a full disk: exit code 8"
is "$(ls "$TMPDIR/small" | grep -c key)" 0 "and no part of it stays"

# Standard output that cannot be written is a failure too.
run bash -c '"$1" ls "$2" >/dev/full' - "$BUILD/rondo" "$site"
status_is 1 "standard output on a full disk"
like "$err" 'cannot write to standard output' "is told"
done_testing
