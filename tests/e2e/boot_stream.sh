#!/bin/bash
# What a boot reads comes as a stream of whole packs, once, whatever happens to the server or to rondo-cloop meanwhile; and what is
# to be kept comes behind it.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl
need_fuse

make_disk "$TMPDIR/disk" 32
head -c 300001 /dev/urandom >"$TMPDIR/kernel"
{ # two of three MiB, the last ones first
	printf 'rondo-profile 1\nmember kernel 300001\nmember disk %d\nread kernel 0 74\n' $((32 << 20))
	for ((mib = 30; mib >= 0; mib -= 3)); do printf 'read disk %d %d\n' $((mib << 8)) 512; done
} >"$TMPDIR/profile"
must_publish image 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --profile "$TMPDIR/profile"
manifest=$out
attack

export SITE=$url MANIFEST=$manifest FOLDER=$site RULES=$attack_script REQUESTS=$requests
while IFS= read -r line; do
	case $line in
	"ok "*) pass "${line#ok }" ;;
	"not ok "*) fail "${line#not ok }" ;;
	*) diag "$line" ;;
	esac
done < <(PYTHONPATH=$ROOT/tests timeout 200 python3 "$ROOT/tests/e2e/boot_stream.py" 2>&1 || echo "not ok the client of the control socket came to its end")

rules
run_rondo inspect --json "${url}image"
is "$status $(json pulled)" "0 true" "inspect shows that the version is kept"
done_testing
