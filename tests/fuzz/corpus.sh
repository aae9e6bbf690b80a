#!/bin/bash
# Every fuzz target handles every input of its corpus, once, under both sanitizers.
# time-limit: 1200
. "$(dirname "$0")/../lib.sh"

need clang make
printf '#include <stddef.h>\nint LLVMFuzzerTestOneInput(const unsigned char *, size_t);\n%s\n' \
	'int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n) { return n > 1 && p[0] > 300; }' >"$TMPDIR/probe.c"
clang -fsanitize=fuzzer,address,undefined -o "$TMPDIR/probe" "$TMPDIR/probe.c" 2>/dev/null ||
	skip_all "clang has no libFuzzer here (package libclang-rt-14-dev)"

# Built here, not by `make test`: where clang is missing there is nothing to build.
ok "the fuzz targets build" make -C "$ROOT" BUILD="$BUILD" -j "$(nproc)" fuzz-corpus || exit 1

ok "every parser has its targets, and every target its parser" "$ROOT/tests/coverage" --programs

for source in "$ROOT"/tests/fuzz/fuzz_*.c; do
	name=$(basename "$source" .c)
	corpus=$ROOT/tests/fuzz/corpus/${name#fuzz_}
	files=$(find "$corpus" -type f 2>/dev/null | wc -l)
	if [ "$files" -eq 0 ]; then
		fail "$name has a corpus"
		continue
	fi
	ok "$name: $files inputs" "$BUILD/fuzz/$name" -runs=0 -timeout=10 -rss_limit_mb=1024 \
		-artifact_prefix="$TMPDIR/" "$corpus"
done
done_testing
