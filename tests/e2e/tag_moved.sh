#!/bin/bash
# time-limit: 600
# A tag moves after a machine was made: the machine keeps the version that it was made from; a new machine gets the new one.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
run_rondo run "$url/tiny" --net none --append "$(guest_command 'echo mine >/root/mark; sync; poweroff')" --timeout 120
status_is 0 "a machine is made from version 1, and writes"
old=$(rondo ps --json | jq -r '.[0].manifest')

publish_appliance tiny "$TMPDIR/site" --version 2
is "$(rondo inspect "$TMPDIR/site/tiny" --json | jq -r .version)" 2 "latest is version 2 now"
run_rondo run "$url/tiny" --net none --append "$(guest_command 'cat /root/mark; poweroff')" --timeout 120
status_is 0 "the machine runs again"
like "$out" mine "with what it wrote"
is "$(rondo ps --json | jq -r '.[0].manifest')" "$old" "over the base that it was written over"
is "$(rondo ps --json | jq -r '.[0].version')" 1 "which is version 1"
run_rondo run "$url/tiny" --name fresh --net none --append "$(guest_command poweroff)" --timeout 120
status_is 0 "a new machine runs"
is "$(rondo ps --json | jq -r '.[] | select(.name == "fresh") | .version')" 2 "from version 2"
done_testing
