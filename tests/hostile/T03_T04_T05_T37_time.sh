#!/bin/bash
# T03, T04, T05 and T37: a catalog older than one seen is refused (stale mirror, rollback), an expired one is no news (freeze), and a
# wrong clock is told apart from both.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign faketime sqlite3

make_disk "$TMPDIR/disk" 2 1
cp "$TMPDIR/disk" "$TMPDIR/disk2"
change_disk "$TMPDIR/disk2" 4096 4096
need_key
publish_at() { # DATE NAME VERSION DISK OPTION…
	local date=$1
	shift
	run faketime "$date" "$BUILD/rondo" publish --name "$1" --version "$2" --disk "$3" --key "$TMPDIR/key" --to "$site" "${@:4}"
	[ "$status" -eq 0 ] || bail_out "publish at $date: $err"
}
at() { # DATE COMMAND…
	local date=$1
	shift
	run faketime "$date" "$BUILD/rondo" "$@"
}
publish_at '2027-03-01 12:00:00' image 1 "$TMPDIR/disk"
cp -r "$site" "$TMPDIR/old"
publish_at '2027-03-10 12:00:00' image 2 "$TMPDIR/disk2"
second=$out
attack

# The site as it should be, then as it was (rollback; the same for an honest mirror that is late).
at '2027-03-10 13:00:00' pull "${url}image"
status_is 0 "the newer catalog"
rules "/catalog.rondo stale from=$TMPDIR/old"
withstands "T05 rollback: the older one" 7 'number 1, older than number 2' 'catalog\.rondo' faketime '2027-03-10 13:01:00' rondo pull "${url}image"
at '2027-03-10 13:02:00' ls "$url"
status_is 7 "T03 stale mirror: ls refuses what it has, too"
at '2027-03-10 13:03:00' inspect "${url}image"
status_is 7 "inspect too"
at '2027-03-10 13:04:00' inspect "${url}image" --offline --json
is "$status $(json manifest)" "0 $second" "what is remembered has not changed"
rules
at '2027-03-10 13:05:00' pull "${url}image"
status_is 0 "the newer one is accepted again"

# Freeze: 90 days later the same catalog.
rules
withstands "T04 freeze: an expired catalog, pull" 6 'expired on 2027-06-08.*rondo renew' 'catalog\.rondo' faketime '2027-07-01 12:00:00' rondo pull "${url}image"
at '2027-07-01 12:01:00' inspect "${url}image" --json
is "$status $(json fresh) $(json manifest)" "0 false $second" "inspect works, and says that it is not fresh"
is "$(grep -c 'expired on 2027-06-08' <<<"$err")" 1 "with one line of warning"
at '2027-07-01 12:02:00' ls "$url"
status_is 0 "ls works"
like "$err" 'expired on' "with a warning"
withstands "T04 freeze: inspect --require-fresh" 6 'expired on 2027-06-08' 'catalog\.rondo' faketime '2027-07-01 12:03:00' rondo inspect "${url}image" --require-fresh
at '2027-07-01 12:04:00' inspect "${url}image" --require-fresh --offline
status_is 6 "--require-fresh --offline: exit code 6"
at '2027-07-01 12:05:00' ls "$url" --require-fresh
status_is 6 "ls --require-fresh: exit code 6"
if [ -w /dev/fuse ]; then
	mkdir "$TMPDIR/mounted"
	at_exit 'fusermount3 -qu "$TMPDIR/mounted"'
	at '2027-07-01 12:06:00' mount --require-fresh "${url}image" "$TMPDIR/mounted"
	status_is 6 "mount --require-fresh: exit code 6"
	library=$(find /usr/lib -name libfaketimeMT.so.1 | head -n 1) # faketime itself would wait for the daemon
	run env LD_PRELOAD="$library" FAKETIME='@2027-07-01 12:06:00' FAKETIME_DONT_FAKE_MONOTONIC=1 \
		"$BUILD/rondo" mount "${url}image" "$TMPDIR/mounted"
	status_is 0 "mount works"
	ok "and reads right" cmp "$TMPDIR/disk2" "$TMPDIR/mounted/disk"
	"$BUILD/rondo" umount "$TMPDIR/mounted"
else
	skip "mount" "/dev/fuse cannot be opened"
fi
mv "$RONDO_HOME" "$TMPDIR/home.known"
at '2027-07-01 12:07:00' inspect "${url}image"
status_is 6 "expired at first contact: exit code 6, as nothing was verified earlier"
rm -rf "$RONDO_HOME"
mv "$TMPDIR/home.known" "$RONDO_HOME"
run faketime '2027-07-01 13:00:00' "$BUILD/rondo" renew "$site" --key "$TMPDIR/key" --expires 30d
status_is 0 "the owner renews"
at '2027-07-01 13:01:00' pull "${url}image"
status_is 0 "and pull works"
at '2027-07-01 13:02:00' inspect "${url}image" --json --require-fresh
is "$(json fresh) $(json manifest)" "true $second" "fresh again, the same version"

# A clock that is behind: 1970, or last year.
for date in '1970-01-02 00:00:00' '2026-01-01 00:00:00'; do
	at "$date" inspect "${url}image" --json
	is "$status $(json fresh)" "0 false" "the clock says $date: it works, but nothing is called fresh"
	like "$err" "your clock says ${date%% *}" "and the clock is named"
	unlike "$err" 'expired on' "the catalog is not said to be expired"
	rules
	withstands "T37 wrong clock: it says $date, --require-fresh" 6 "clock here says ${date%% *}" 'catalog\.rondo' \
		faketime "$date" rondo inspect "${url}image" --require-fresh
	RONDO_HOME=$TMPDIR/first.home RONDO_CACHE=$TMPDIR/first.cache at "$date" inspect "${url}image"
	status_is 0 "at first contact, too, it works"
	like "$err" "your clock says ${date%% *}" "and the clock is named"
	RONDO_HOME=$TMPDIR/first.home RONDO_CACHE=$TMPDIR/first.cache at '2027-07-01 13:30:00' inspect "${url}image" --json --require-fresh
	is "$status $(json fresh)" "0 true" "and once it is right, all is fresh"
	rm -rf "$TMPDIR"/first.*
done
at '2027-07-01 12:58:00' inspect "${url}image" --json --require-fresh
is "$status" 0 "a clock two minutes behind is none that is wrong"
# ahead: the catalog looks expired
rules
for date in '2039-01-01 00:00:00' '2106-02-07 06:28:20'; do
	withstands "T37 wrong clock: it says $date, by which the catalog has expired" 6 "the clock here says ${date%% *}" 'catalog\.rondo' \
		faketime "$date" rondo pull "${url}image"
done
at '2027-07-01 14:00:00' pull "${url}image"
status_is 0 "which does no lasting harm"
done_testing
