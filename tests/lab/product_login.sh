#!/bin/bash
# time-limit: 1200
# The whole product on a real KVM: from its URL, over HTTP, through rondo-cloop and rondo-vmm, Debian comes to its login prompt. And
# a boot of Tiny, published there, is recorded.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/lab/lib.sh"
. "$ROOT/tests/lab/product_lib.sh"
need_product
publish_appliance debian "$TMPDIR/site"
tiny=$("$ROOT/tests/images.sh" tiny) || skip_all "the appliance tiny cannot be built here"
serve_site "$TMPDIR/site"

cat >"$TMPDIR/login" <<END
login() { # CPUS
	rondo run "\$url/debian#$(rondo key show "$TMPDIR/key")" --engine kvm --ephemeral --cpus "\$1" --until 'login:' --timeout 500 \
		>/tmp/debian.console 2>/tmp/debian.said && grep -a 'debian login:' /tmp/debian.console
}
check "the kvm engine serves in the lab" rondo-vmm --probe
check "Debian with two processors comes to its login prompt" login 2
grep fetched /tmp/debian.said
check "it is off then, and nothing is left of it" eval '[ -z "\$(process_of rondo-vmm)\$(process_of passt)" ] && [ "\$(rondo ps --json)" = "[]" ]'
END
cat >>"$TMPDIR/login" <<END
rondo key new /tmp/key </dev/null
check "a boot of Tiny is recorded" eval 'rondo publish --name tiny --version 1 --disk /tiny/disk --kernel /tiny/kernel --initrd /tiny/initrd \
	--cmdline "$(appliance_field "$tiny" cmdline)" --memory 128M --ready login: --profile auto --timeout 400 --key /tmp/key --to /tmp/site 2>/tmp/record.said'
cat /tmp/record.said
check "by rondo-vmm, with what it reads" eval '! grep -q "engine qemu" /tmp/record.said && grep "with [0-9][0-9]* reads of its disk" /tmp/record.said'
check "nothing is left of that machine" eval '[ -z "\$(process_of rondo-vmm)" ] && [ "\$(rondo ps --json)" = "[]" ]'
END
# With one processor, too, where there is time.
[ -z "${RONDO_TEST_LONG:-}" ] || echo 'check "and with one" login 1' >>"$TMPDIR/login"
lab_product --time-limit 1100 --file "$tiny/disk:/tiny/disk" --file "$tiny/kernel:/tiny/kernel" --file "$tiny/initrd:/tiny/initrd" <"$TMPDIR/login"
like "$out" 'fetched [0-9.]+ MiB' "Debian was fetched from the server"
like "$out" 'with [2-9][0-9]+ reads of its disk' "Tiny's boot read its disk more than a few times"
ok "which was asked for its objects" grep -q '/objects/' "$access"
ok "by the lab, for less than the whole" test "$(awk '{ sum += $6 } END { print sum }' "$access")" -lt "$(du -sb "$TMPDIR/site" | cut -f 1)"
done_testing
