#!/bin/bash
# A machine cannot run twice, however it is tried. It keeps the version that it was made from, wherever the tags have moved since; a new
# one gets the new version.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq python3
need_fuse
appliance_disk=$TMPDIR/disk1
large_disk tiny "$appliance_disk" 1 1
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
first=$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)

# Eight at once.
for i in {1..8}; do
	(
		rondo run "$url/tiny" --name one --detach --net none --append "ro $(guest_command 'sleep 600')" >"$TMPDIR/out.$i" 2>"$TMPDIR/err.$i"
		echo $? >"$TMPDIR/code.$i"
	) &
	starting[i]=$!
done
wait "${starting[@]}"
is "$(cat "$TMPDIR"/code.* | sort -n | uniq -c | xargs)" "1 0 7 10" "of eight that start the same machine at once, one does; the others are told that it is busy"
is "$(machine_state one)" running "it runs"
is "$(cat "$TMPDIR"/out.*)" one "its name is printed once"
run_rondo run "$url/tiny" --name one --net none
status_is 10 "nor is it started later"
like "$err" "rondo console one" "and told how to reach it"
run setsid rondo-overlay --dir "$RONDO_HOME/instances/one" --mount "$TMPDIR" --manifest "$(rondo inspect one --json | jq -r .manifest)" \
	--base-fd 5 --control-fd 6 5<"$appliance_disk" 6<>/dev/null
unlike "$status" '^0$' "its overlay cannot be opened by hand without a supervisor"
run python3 - "$RONDO_HOME/instances/one" "$(rondo inspect one --json | jq -r .manifest)" "$appliance_disk" "$TMPDIR" <<'END'
import os, socket, subprocess, sys
folder, manifest, base, scratch = sys.argv[1:]
mount = os.path.join(scratch, "second")
os.mkdir(mount)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
with open(base) as f:
    sys.exit(subprocess.run(["rondo-overlay", "--dir", folder, "--mount", mount, "--manifest", manifest, "--base-fd", str(f.fileno()),
                             "--control-fd", str(theirs.fileno())], pass_fds=(f.fileno(), theirs.fileno())).returncode)
END
status_is 10 "nor with one: the overlay is locked"
run_rondo rm one
status_is 10 "it is not removed"
run_rondo stop one --timeout 1
status_is 0 "it is stopped"

appliance_disk=$TMPDIR/disk2
large_disk tiny "$appliance_disk" 1 2
publish_appliance tiny "$TMPDIR/site" --version 2
second=$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)
rm -rf "$RONDO_CACHE" # nor what is remembered of the catalog for a minute
read_all='sha256sum /dev/vda; poweroff -f'
start_guest one "$url/tiny" "$read_all" --net none
start_guest two "$url/tiny" "$read_all" --net none
ok "there is a second version: the old machine reads the first" guest_shows one "$first"
ok "a new one reads the second" guest_shows two "$second"
end_guest one
end_guest two
run_rondo run "$url/tiny:2" --name one --net none --timeout 60
status_is 10 "another version cannot be had for the old machine"
like "$err" "machine one exists" "and told why"
run_rondo ps --json
is "$(jq -c 'map([.name, .version]) | sort' <<<"$out")" '[["one","1"],["two","2"]]' "ps says which is which"
done_testing
