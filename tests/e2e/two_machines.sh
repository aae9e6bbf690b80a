#!/bin/bash
# time-limit: 600
# Two machines of one image run at once, each with its own disk, from one rondo-cloop; the second fetches nothing more.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"

run_rondo run "$url/tiny" --name one --no-keep --detach --net none --append "$(guest_command 'echo one >/root/mark; sync; sha256sum /dev/vda >/dev/null; echo written')"
status_is 0 "the first machine starts"
ok "and writes" wait_until 100 grep -q written "$RONDO_HOME/instances/one/console.log"
before=$(wc -l <"$access")
run_rondo run "$url/tiny" --name two --no-keep --net none --append "$(guest_command 'cat /root/mark; sha256sum /dev/vda >/dev/null; poweroff')" --timeout 120
status_is 0 "the second one runs beside it"
unlike "$out" '^one' "and does not see what the first wrote"
is "$(($(wc -l <"$access") - before))" 0 "it fetched nothing: blocks, manifest and a catalog of the last minute were there"
is "$(cloop_pid | wc -l)" 1 "one rondo-cloop serves both"
run_rondo run "$url/tiny" --name one --net none
status_is 10 "the first cannot be started twice"
run_rondo ps
like "$out" 'one +running' "ps shows the one that runs"
like "$out" 'two +stopped' "and the one that does not"
run_rondo stop one --timeout 1
status_is 0 "it is stopped"
done_testing
