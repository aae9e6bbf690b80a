#!/bin/bash
# Every fuzz target handles every input of its corpus, once, under both sanitizers.
# time-limit: 1200
. "$(dirname "$0")/../lib.sh"

need make python3
ok "the fuzz targets build" make -C "$ROOT" BUILD="$BUILD" -j "$(nproc)" replay || exit 1
ok "every parser has its targets, and every target its parser" "$ROOT/tests/coverage" --programs

export ASAN_OPTIONS=max_allocation_size_mb=1024:hard_rss_limit_mb=1024
for source in "$ROOT"/tests/fuzz/fuzz_*.c; do
	name=$(basename "$source" .c)
	corpus=$ROOT/tests/fuzz/corpus/${name#fuzz_}
	files=$(find "$corpus" -type f 2>/dev/null | wc -l)
	if [ "$files" -eq 0 ]; then
		fail "$name has a corpus"
		continue
	fi
	ok "$name: $files inputs" "$BUILD/asan/replay/$name" "$corpus"
done
done_testing
