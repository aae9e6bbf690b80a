#!/bin/bash
# time-limit: 600
# Of each of the overlay's rules a step is taken out of the source, or put where it does not belong: a test of the overlay notices it.
# (Steps that are single calls are left out by tests/unit/test_overlay_crash.c itself.)
. "$(dirname "$0")/../lib.sh"
need cc
export RONDO_TEST_CRASHES=3000

build() { # SOURCE TEST PROGRAM
	cc -std=c17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I"$ROOT" -O1 -w -pthread -fPIE -pie -o "$3" \
		"$BUILD/tests/unit/$2.o" "$1" "$BUILD/blockstore.a" "$BUILD/base.a" -lcrypto -lb2 -lcmocka
}

mutant() { # RULE FILE TEST SED…
	local rule=$1 file=$2 test=$3
	shift 3
	sed -E "$@" "$ROOT/blockstore/$file" >"$TMPDIR/$file"
	if cmp -s "$ROOT/blockstore/$file" "$TMPDIR/$file"; then
		fail "rule $rule: the source has changed, and this test must follow"
		return
	fi
	ok "rule $rule: built" build "$TMPDIR/$file" "$test" "$TMPDIR/mutant"
	run timeout 100 "$TMPDIR/mutant"
	unlike "$status" "^(0|124)\$" "noticed by $test"
}

# What is built in this way is not wrong by itself.
ok "the unchanged source builds" build "$ROOT/blockstore/overlay.c" test_overlay_rules "$TMPDIR/same"
ok "and passes" "$TMPDIR/same"

mutant "1, a block's bits are set before it is written" overlay.c test_overlay_crash \
	-e '/^    if \(r == 0 && fresh\)$/,+1d' \
	-e 's/^        r = write_data\(o, from, \(size_t\)count \* OVERLAY_BLOCK_SIZE.*/        { if (fresh) overlay_map_set(o, page, block % OVERLAY_PAGE_BLOCKS, count, OVERLAY_DATA); r = write_data(o, from, (size_t)count * OVERLAY_BLOCK_SIZE, block * OVERLAY_BLOCK_SIZE); }/'
mutant "1, a part of a block is written without the rest" overlay.c test_overlay_crash \
	-e 's/^    r = overlay_read_place\(o, &place, block \* OVERLAY_BLOCK_SIZE, &read_bytes, sizeof merged\);/    (void)read_bytes;/'
mutant "3, the map is copied behind the sync of the data" overlay_flush.c test_overlay_crash \
	-e '/^    unsigned copied = overlay_map_begin_round\(o\);/d' \
	-e '/the overlay.s data \(disk.data\) could not/a unsigned copied = overlay_map_begin_round(o);'
mutant "3, a flush is content with the round that runs" overlay_flush.c test_overlay_rules \
	-e 's/^    uint64_t needed = f->started \+ 1;/    uint64_t needed = f->started + !f->running;/'
mutant "4, after a failed flush the next one succeeds" overlay_flush.c test_overlay_crash \
	-e 's/^            f->failed = true;/            pthread_mutex_unlock(\&f->lock); return -EIO;/'
mutant "5, no space is allocated" overlay_file.c test_overlay_rules \
	-e 's/^(int overlay_file_allocate.*)$/int overlay_file_allocate(int fd, uint64_t offset, uint64_t n) { (void)fd, (void)offset, (void)n; return 0; } int unused(int, uint64_t, uint64_t); int unused(int fd, uint64_t offset, uint64_t n)/'
mutant "of snapshots, files go before the list that does without them" overlay_snapshot.c test_overlay_crash \
	-e '/^    layers.layers\[0\] = top;/{n;s/^(    r = overlay_layers_replace)/    overlay_snapshot_clean(dir, \&layers);\n\1/}'
mutant "of snapshots, the upper layer is dropped before it is copied" overlay_snapshot.c test_overlay_crash \
	-e 's/^    int r = overlay_snapshot_not_a_label\(overlay_merge_down\(.*/    int r = 0; close(copy); (void)progress;/'
mutant "of snapshots, an upper layer does not hide a lower one" overlay_lower.c test_overlay_crash \
	-e 's/^    for \(unsigned layer = 0; layer < count; layer\+\+\)/    for (unsigned layer = count; layer-- > 0;)/'
mutant "of snapshots, an open overlay is not flushed once its changes are held" overlay_live.c test_overlay_crash \
	-e 's/^        r = overlay_flusher_round\(o\); .*//'
mutant "of snapshots, the changes of an open overlay are not held" overlay_live.c test_overlay_crash \
	-e 's/^        overlay_map_hold_changes\(o\);//'
mutant "of snapshots, the list is replaced before an open overlay is flushed" overlay_taking.c test_overlay_crash \
	-e '/^int overlay_taking_begin/,/^}/s/^    if \(r < 0\)$/    if (r == 0) (void)overlay_layers_replace(dir, \&t->after, NULL);\n    if (r < 0)/'
mutant "of snapshots, a new layer is listed before it is stable" overlay_pair.c test_overlay_crash \
	-e 's/^    if \(r == 0 && io->fsync\(fd\) < 0\)$/    if (0)/'
mutant "of snapshots, a reader looks below the top for what the top had" overlay_lower.c test_overlay_live \
	-e 's/^        free\(TAKE_PTR\(l->slots\[i\].where\)\);//'
done_testing
