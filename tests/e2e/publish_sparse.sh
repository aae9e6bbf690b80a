#!/bin/bash
# A sparse disk of 1 TiB with 64 MiB of data, far apart, costs what its data costs: in time, in memory and in requests.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

disk=$TMPDIR/huge
truncate -s 1T "$disk" || skip_all "the file system has no files of 1 TiB"
for i in {0..63}; do # a MiB every 16 GiB, and so in 64 leaves
	head -c 1M /dev/urandom | dd of="$disk" bs=1M seek=$((i * 16384 + i)) conv=notrunc status=none
done
need_key
measure "$BUILD/rondo" publish --name huge --version 1 --disk "$disk" --key "$TMPDIR/key" --to "$site"
status_is 0 "publish"
like "$err" ' 16384 blocks new ' "its data alone is stored"
ok "in less than 20 s ($seconds s)" [ "$seconds" -lt 20 ]
ok "in less than 64 MiB of memory ($peak KiB)" [ "$peak" -lt $((64 * 1024)) ]

attack
measure "$BUILD/rondo" inspect "${url}huge" --json
status_is 0 "inspect over HTTP"
is "$(json disk_bytes)" 1099511627776 "its size"
is "$(json disk_mapped_bytes)" 67108864 "its data"
ok "in less than 32 MiB of memory ($peak KiB)" [ "$peak" -lt $((32 * 1024)) ]

forget
rules
measure "$BUILD/rondo" pull "${url}huge"
status_is 0 "pull over HTTP"
ok "in less than 64 MiB of memory ($peak KiB)" [ "$peak" -lt $((64 * 1024)) ]
objects=$(find "$site/objects" -type f | wc -l)
bytes=$(du -sb --apparent-size "$site/objects" | cut -f1)
ok "in a request for each object or 4 MiB ($(requests))" [ "$(requests)" -le $((1 + objects + bytes / 4194304)) ]

head -c 1M /dev/urandom | dd of="$disk" bs=1M seek=500000 conv=notrunc status=none
measure "$BUILD/rondo" publish --name huge --version 2 --disk "$disk" --key "$TMPDIR/key" --to "$site"
status_is 0 "a second version"
like "$err" ' 256 blocks new ' "stores what is new"
ok "in less than 64 MiB of memory ($peak KiB)" [ "$peak" -lt $((64 * 1024)) ]
ok "the site is whole" check_site "$site"
done_testing
