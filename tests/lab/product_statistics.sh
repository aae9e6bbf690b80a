#!/bin/bash
# time-limit: 600
# What rondo inspect shows of a machine on a real KVM: exits by reason and requests; few of them lead to rondo-vmm.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/lab/lib.sh"
. "$ROOT/tests/lab/product_lib.sh"
long_test "two boots in the lab take minutes"
need_product
need jq
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"

lab_product --time-limit 500 --results "$TMPDIR/results" <<END
boot() { # NAME WORDS
	count_exits start
	begin "\$1" tiny --net none --cpus 1 --append "ro \$2 $(guest_command 'echo userspace')"
	check "a machine starts \$1" shows "\$1" '^userspace'
	count_exits show >"/results/\$1.kernel"
	check "it tells what it has done" rondo inspect "\$1" --json
	cp /tmp/check "/results/\$1.json"
	check "it is stopped" rondo stop "\$1" --timeout 60
	check "and ends" ended "\$1" 0 10
}
boot quietly ''
boot verbosely 'loglevel=7'
END

count() { # NAME KEY
	jq ".\"$2\" // -1" "$TMPDIR/results/$1.json"
}
exits() { # NAME
	jq '[to_entries[] | select(.key | startswith("exits.")) | .value] | add' "$TMPDIR/results/$1.json"
}
for name in quietly verbosely; do
	diag "$name: $(jq -c . "$TMPDIR/results/$name.json")"
	diag "$name, as the kernel counts: $(tr '\n' ';' <"$TMPDIR/results/$name.kernel")"
	ok "$name: exits for ports and memory are told apart" test "$(count "$name" exits.port)" -gt 0 -a "$(count "$name" exits.memory)" -gt 0
	# The kernel's include those of rondo-vmm --probe: 12 steps that it tells, and the end of its guest.
	ok "$name: the kernel counts no more that led to rondo-vmm" test "$(($(exits "$name") + 13))" -ge "$(sed -n 's/^user //p' "$TMPDIR/results/$name.kernel")"
	ok "$name: the disk has served reads" test "$(count "$name" block.reads)" -gt 0 -a "$(count "$name" block.read_bytes)" -ge $((1 << 20))
	is "$(count "$name" block.failures)" 0 "$name: without a failure"
done
ok "$(exits quietly) exits with a quiet console are at most 20000" test "$(exits quietly)" -le 20000
ok "$(exits verbosely) with a verbose one are at most 45000" test "$(exits verbosely)" -le 45000
done_testing
