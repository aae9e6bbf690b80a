#!/bin/bash
# time-limit: 2400
# On a real KVM a guest may restart itself and switch itself off, and rondo stop is its power button: Tiny's and Debian's. A snapshot is
# taken as it runs, and it is what it was then.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/lab/lib.sh"
. "$ROOT/tests/lab/product_lib.sh"
long_test "three boots of Debian in the lab take minutes"
need_product
publish_appliance tiny "$TMPDIR/site"
publish_appliance debian "$TMPDIR/site"
serve_site "$TMPDIR/site"

lab_product --time-limit 2300 <<'END'
ended_itself() { # NAME: it was not we who switched it off, or killed it
	grep -q 'the guest switched itself off' "/var/lib/rondo/instances/$1/machine.log"
}
nothing_left() {
	[ -z "$(process_of rondo-vmm)$(process_of passt)" ]
}
live() { # NAME SECONDS OPTION…: of any system that lets root log in without a password
	name=$1 seconds=$2
	shift 2
	begin "$name" "$name" "$@"
	check "$name comes to its login prompt" shows "$name" "$name login:" "$seconds"
	first=$(process_of rondo-vmm)
	type_in "$name" root
	check "root logs in" shows "$name" 'root@|tiny:~#' "$seconds"
	type_in "$name" reboot
	check "told to restart, it comes to its login prompt again" shows "$name" "$name login:" "$seconds" 2
	check "in a new process" eval '[ "$(process_of rondo-vmm)" != "$first" ]'
	type_in "$name" root
	check "root logs in again" shows "$name" 'root@|tiny:~#' "$seconds" 2
	type_in "$name" 'echo first >/root/mark; sync; echo written-$((1 + 1))'
	check "it writes" shows "$name" written-2 "$seconds"
	check "a snapshot is taken as it runs" eval '[ "$(rondo snapshot "$name" live)" = live ]'
	type_in "$name" 'echo second >/root/mark; sync; echo written-$((2 + 2))'
	check "it goes on and writes" shows "$name" written-4 "$seconds"
	check "the machine counts as one that runs" eval 'rondo ps | grep "$name.*running"'
	type_in "$name" poweroff
	check "told to switch off, rondo run ends with exit code 0" ended "$name" 0 "$seconds"
	check "because the guest did" ended_itself "$name"
	check "nothing of it runs" nothing_left
	check "it is rolled back" rondo rollback "$name" live
	begin "$name" "$name" "$@"
	check "$name starts again" shows "$name" "$name login:" "$seconds"
	type_in "$name" root
	check "root logs in" shows "$name" 'root@|tiny:~#' "$seconds"
	type_in "$name" 'echo mark-$(cat /root/mark)'
	check "it is what it was at the snapshot" shows "$name" mark-first "$seconds"
	check "rondo stop is its power button" rondo stop "$name" --timeout "$seconds"
	check "rondo run ends with exit code 0" ended "$name" 0 10
	check "the guest heard the button" ended_itself "$name"
	check "nothing of it runs any more" nothing_left
	rondo rm "$name"
}
live tiny 200
live debian 600
END
done_testing
