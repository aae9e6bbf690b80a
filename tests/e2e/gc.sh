#!/bin/bash
# rondo gc makes the cache small, and takes nothing that a mount, a machine or a pulled version needs.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl fuser
need_fuse

disk=$TMPDIR/disk
make_disk "$disk" 12 7
blocks=$((12 * 64)) # of 16 KiB, as compare reads
must_publish image 1 "$disk"
make_disk "$TMPDIR/other" 8 8
must_publish other 1 "$TMPDIR/other"
attack
cached() { # bytes of objects and incomplete packs
	find "$RONDO_CACHE/objects" "$RONDO_CACHE/partial" -type f -printf '%b\n' | awk '{ n += $1 * 512 } END { print n + 0 }'
}

# A mount of a version that is not kept.
mount_image "${url}image"
status_is 0 "a version is mounted"
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $blocks" "and read"
run_rondo pull "${url}other"
status_is 0 "another one is pulled"
is "$(ls "$RONDO_CACHE/leases" | wc -l)" 1 "what is open is leased, what was pulled no longer"
before=$(cached)
run_rondo gc --max-size 1 --dry-run --json
is "$status $(json freed) $(json dry_run)" "0 0 true" "nothing of that would go"
is "$(json bytes) $(json kept)" "$before $before" "all of it is kept, to the byte"
run_rondo gc --max-size 0
status_is 0 "and nothing goes, even where nothing may stay"
like "$out" '^freed 0 bytes in 0 files' "which it says"
like "$err" 'larger than that; rondo ps and rondo ls' "with the way to let it go"
rules '* status code=503'
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $blocks" "the mount is read on, whatever the server says"
rules
unmount_image
not_leased() {
	! fuser -s "$RONDO_CACHE"/leases/*
}
ok "the lease ends with the mount" wait_until 10 not_leased
run_rondo gc --max-size 1 --json
status_is 0 "then it goes"
ok "down to what was pulled" [ "$(json kept)" -eq "$(json bytes)" -a "$(json freed)" -gt 4000000 ]
is "$(json bytes)" "$(cached)" "and the figures are the folder's"
run_rondo inspect --offline --json "${url}other"
is "$status $(json pulled)" "0 true" "which still runs offline"
run_rondo gc
status_is 0 "without an option the configured limit counts"
like "$out" '^freed 0 bytes .* of at most 10.0 GiB' "and it is far away"

# What a killed one has left.
mount_image "${url}image"
pid=$(fuser "$RONDO_CACHE"/leases/* 2>/dev/null | tr -d ' ')
ok "the lease's holder is a process" kill -9 "$pid"
fusermount3 -qu "$TMPDIR/mounted"
run_rondo gc --max-size 1
status_is 0 "a lease whose holder was killed"
is "$(ls "$RONDO_CACHE/leases")" "" "says nothing"
mkdir -p "$RONDO_RUNTIME/instances/dead/disk"
touch "$RONDO_RUNTIME/instances/dead/control"
touch -d '2 minutes ago' "$RONDO_RUNTIME/instances/dead"
run_rondo gc --json
is "$status $(json leftovers)" "0 1" "a dead machine's runtime folder"
not_ok "is taken away" test -e "$RONDO_RUNTIME/instances/dead"

run_rondo gc --grace 1d
status_is 2 "--grace without a site"
run_rondo gc --max-size 1 "$site"
status_is 2 "--max-size with a site"
run_rondo gc "$TMPDIR"
status_is 3 "a folder that is no site"
run_rondo gc "$url"
status_is 2 "a URL"
done_testing
