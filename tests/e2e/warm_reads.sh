#!/bin/bash
# A sequential reader needs few requests; readers at once, one behind the other and at random, get the right bytes; and memory that
# decoded chunks had while that served is given back when nobody reads any more.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need python3 perl
need_fuse

size=96 # MiB: more than decoded chunks may take
make_disk "$TMPDIR/disk" $size 7
must_publish image 1 "$TMPDIR/disk"
serve_site "$site"
mkdir "$TMPDIR/mount"

requests() { grep -c 'GET /objects/' "$access"; }
resident() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$(cloop_pid | head -n 1)/status"; }
read_at_random() { # SEED MIB: blocks of the first MIB MiB, past the page cache, as many as there are, each compared
	python3 - "$TMPDIR/disk" "$TMPDIR/mount/disk" "$1" "$2" <<-'END'
		import mmap, os, random, sys
		source, mounted = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDONLY | os.O_DIRECT)
		random.seed(int(sys.argv[3]))
		blocks, to = int(sys.argv[4]) * 256, mmap.mmap(-1, 4096)
		for _ in range(blocks):
		    at = random.randrange(blocks) * 4096
		    if os.preadv(mounted, [to], at) != 4096 or to[:] != os.pread(source, 4096, at):
		        sys.exit(f"wrong at {at}")
	END
}

run_rondo mount "$url/image" "$TMPDIR/mount"
status_is 0 "it is mounted"
ok "a reader of everything gets the right bytes" cmp "$TMPDIR/disk" "$TMPDIR/mount/disk"
chunks=$((size * 8 * 5 / 6)) # those that are no holes
count=$(requests)
diag "$count requests for about $chunks chunks"
ok "it took at most a request for 4 chunks" test $((count * 4)) -le $chunks
before=$count
ok "it is unmounted" rondo umount "$TMPDIR/mount"

run_rondo mount "$url/image" "$TMPDIR/mount"
status_is 0 "it is mounted again"
pids=()
for seed in 1 2; do
	read_at_random $seed 48 &
	pids+=($!)
done
for skip in 0 24 48 72; do
	cmp "$TMPDIR/disk" "$TMPDIR/mount/disk" -i $((skip << 20)) &
	pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do
	wait "$pid" || failed=$((failed + 1))
done
is "$failed" 0 "four sequential readers and two of random blocks, all at once, get the right bytes"
is "$(requests)" "$before" "none of them from the site"
ok "what is read again and again is kept in memory" read_at_random 3 48
most=$(resident)
ok "($most MiB)" test "$most" -gt 40
ok "and within 128 MiB" test "$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$(cloop_pid | head -n 1)/status")" -lt 128
ok "which is given back when nobody reads" wait_until 30 eval '[ "$(resident)" -lt 36 ]'
diag "$most MiB, then $(resident) MiB"
ok "reading goes on" read_at_random 4 2
ok "it is unmounted" rondo umount "$TMPDIR/mount"
done_testing
