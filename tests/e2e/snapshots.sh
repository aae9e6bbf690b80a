#!/bin/bash
# time-limit: 600
# A machine's disk is kept under labels, goes on, is broken, and is what it was again; a deleted snapshot takes nothing with it.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
guest_mode=rw
folder=$RONDO_HOME/instances/tiny
labels() {
	rondo snapshot tiny --list --json | jq -c 'map(.label)'
}
layer_files() {
	find "$folder" -name 'layer-*' | wc -l
}
run_guest() { # COMMAND
	run_rondo run "$url/tiny" --name tiny --net none --timeout 150 --append "$guest_mode $(guest_command "$1; sync; poweroff -f")"
}

start_guest tiny "$url/tiny" 'echo first >/root/mark; sync; echo marked; read line; echo second >/root/mark; echo more >/root/more; sync; echo again; read line; cat /root/mark; poweroff -f' --net none
ok "a machine writes" guest_shows tiny '^marked'
run_rondo snapshot tiny --list
status_is 0 "its list can be had while it runs"
is "$out" "" "and is empty"
like "$err" "rondo snapshot tiny" "and says how to change that"
run_rondo snapshot tiny running
is "$status $out" "0 running" "a snapshot is taken as it runs"
run_rondo snapshot tiny running
status_is 1 "a label is given once"
like "$err" "rondo snapshot tiny --list" "and the message says where to look"
run_rondo snapshot tiny ''
status_is 2 "and not anything can be one"
run_rondo rollback tiny
status_is 10 "while it runs it cannot be rolled back"
like "$err" "rondo stop tiny" "and the message says what to do"
run_rondo snapshot tiny running --delete
status_is 10 "nor its snapshots deleted"
like "$err" "rondo stop tiny" "with the same advice"
tell_guest tiny
ok "it goes on and writes" guest_shows tiny '^again'
ok "it is paused" rondo pause tiny
run_rondo snapshot tiny
is "$status $out" "0 1" "of a paused one, a snapshot is taken, too"
is "$(rondo ps --json | jq -r '.[0].state')" paused "and it stays paused"
ok "it goes on" rondo resume tiny
tell_guest tiny
end_guest tiny
is "$status" 0 "it ends"
ok "having read what it wrote" guest_shows tiny '^second'
is "$(labels) $(layer_files)" '["1","running"] 4' "both are there"
run_guest 'cat /root/mark'
like "$out" second "the disk is as it was left"
run_rondo rollback tiny running --drop-newer
status_is 0 "it is rolled back to the first"
run_guest 'cat /root/mark /root/more'
like "$out" 'first' "and holds what was written before that"
unlike "$out" 'second|^more' "and nothing that came behind"
run_rondo snapshot tiny running --delete
status_is 0 "which is deleted"

run_rondo rollback tiny
status_is 3 "there is nothing to roll back to"
run_rondo snapshot tiny 'no/good'
status_is 2 "not anything can be a label"
run_rondo snapshot tiny clean
status_is 0 "a snapshot is taken"
is "$out" clean "its label is printed"
run_rondo snapshot tiny clean
status_is 1 "a label is given once"
like "$err" "rondo snapshot tiny --list" "and the message says where to look"

run_guest 'cat /root/mark; echo second >/root/mark; rm -rf /bin'
status_is 0 "the machine goes on from there, and breaks"
like "$out" 'first' "it read what was there"
run_rondo snapshot tiny
is "$out" 1 "a snapshot without a label gets a number"
run_rondo snapshot tiny --list
like "$out" 'SNAPSHOT +TIME +WRITTEN
1 +20.*
clean +20' "both are listed, the newest first"
run_rondo snapshot tiny --list --json
is "$(jq -c 'map([.label, .time[4:5], .written > 0])' <<<"$out")" '[["1","-",true],["clean","-",true]]' "also as JSON"
run_rondo ps --json
is "$(jq -c '.[] | [.snapshots, .written > 0]' <<<"$out")" '[2,true]' "ps counts them"
is "$(rondo inspect tiny --json | jq .snapshots)" 2 "so does inspect"

run_rondo rollback tiny clean
status_is 1 "going back to the older one would lose the newer"
like "$err" "rondo rollback tiny clean --drop-newer" "and the message says how"
is "$(labels)" '["1","clean"]' "so nothing has changed"
run_rondo rollback tiny clean --drop-newer
status_is 0 "with leave it does"
is "$out $(labels)" 'clean ["clean"]' "and that one stays"
is "$(layer_files)" 2 "of the layers only the new one is left"
run_guest 'cat /root/mark; ls /bin | wc -l; echo third >/root/mark'
status_is 0 "the machine is whole again"
like "$out" 'first' "with what it had written before"

run_rondo snapshot tiny clean --delete
status_is 0 "the snapshot is deleted"
is "$(labels) $(layer_files)" '[] 0' "no layer is left of it"
run_rondo snapshot tiny clean --delete
status_is 3 "there is none of that label any more"
run_guest 'cat /root/mark'
like "$out" 'third' "the disk is as it was"

for arguments in "tiny --list x" "tiny --delete" "tiny --json" "tiny --list --delete" "tiny a b"; do
	run_rondo snapshot $arguments
	[ "$status" -eq 2 ] || fail "snapshot $arguments: exit code 2, not $status"
done
run_rondo rollback tiny --drop-newer
status_is 2 "what makes no sense is refused"
run_rondo snapshot nobody
status_is 3 "there is no such machine"
run_rondo snapshot tiny last
run_rondo rm tiny
status_is 0 "a machine is removed with its snapshots"
not_ok "all of it" [ -e "$folder" ]
done_testing
