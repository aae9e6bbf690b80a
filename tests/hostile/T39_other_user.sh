#!/bin/bash
# Another user of this host gets nothing (T39): private folders, sockets that serve their own user only, mounts that nobody else may look into; and
# nobody is served by what another user put where ours should be. Needs root, to be two users.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 setpriv passt
need_fuse
[ "$(id -u)" = 0 ] || skip_all "not root, so there is no other user"
stranger() {
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

publish_fake
run_rondo run "$url/fake" --detach --append 'print=up'
status_is 0 "a machine runs"
like "$(stat -c '%a' "$RONDO_RUNTIME" "$RONDO_HOME" "$RONDO_CACHE" | sort -u)" '^700$' "the runtime folder, the home and the cache are for their user alone"
chmod 711 "$TMPDIR"
not_ok "a stranger cannot look into the runtime folder" stranger ls "$RONDO_RUNTIME"
not_ok "nor into the cache" stranger ls "$RONDO_CACHE"

# Were the folders open, and the sockets: still nobody else is answered.
mapfile -t sockets < <(find "$RONDO_RUNTIME" -xdev -type s)
is "$(printf '%s\n' "${sockets[@]#"$RONDO_RUNTIME"/}" | sort | tr '\n' ' ')" "cloop.sock instances/fake/control " "the sockets are rondo-cloop's and the machine's (all others have no name)"
chmod 755 "$RONDO_RUNTIME" "$RONDO_RUNTIME/instances" "$RONDO_RUNTIME/instances/fake"
chmod 777 "${sockets[@]}"
cat >"$TMPDIR/ask.py" <<'P'
import os, socket, sys
if sys.argv[2:]:
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
for word in "hold", "counts", "quit", "state", "console", "stop":
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(10)
    s.connect(sys.argv[1])
    try:
        s.send(word.encode())
        answer = s.recv(100)
    except (BrokenPipeError, ConnectionResetError):
        answer = b""
    print(word, answer, file=sys.stderr)
    if answer:
        sys.exit(0)
sys.exit(1)
P
for path in "${sockets[@]}"; do
	ok "${path##*/} answers its user" python3 "$TMPDIR/ask.py" "$path"
	run python3 "$TMPDIR/ask.py" "$path" 65534
	status_is 1 "and no stranger, whatever is said"
done
manifest=$(ls "$RONDO_RUNTIME/mnt")
ok "the mount is its user's" head -c 1 "$RONDO_RUNTIME/mnt/$manifest/disk"
not_ok "and no stranger's" stranger head -c 1 "$RONDO_RUNTIME/mnt/$manifest/disk"
not_ok "nor is the machine's disk" stranger head -c 1 "$RONDO_RUNTIME/instances/fake/disk/disk"
run_rondo ps
like "$out" 'fake +running' "the machine has heard nothing of it"
run_rondo stop fake
run_rondo rm fake
status_is 0 "and is removed"
ok "nothing is left of it" wait_until 10 no_machine_left

# What a stranger put there first.
refused() { # REGEX WHAT
	run_rondo run "$url/fake" --ephemeral --append 'exit=0'
	like "$status $err" "$1" "$2"
}
export RONDO_RUNTIME=$TMPDIR/runtime2
stranger_owns() {
	rm -rf "$RONDO_RUNTIME"
	mkdir -m 700 "$RONDO_RUNTIME"
}
stranger_owns && chown 65534 "$RONDO_RUNTIME"
refused '^[1-9].*belongs to user 65534' "a runtime folder of another user is refused"
stranger_owns && chmod 777 "$RONDO_RUNTIME"
refused '^[1-9].*others may write to' "one that others may write to"
rmdir "$RONDO_RUNTIME" && ln -s "$TMPDIR/runtime" "$RONDO_RUNTIME"
refused '^[1-9].*symbolic link' "one that is a symbolic link"
rm "$RONDO_RUNTIME" && stranger_owns
start_process impostor python3 -c '
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(sys.argv[1])
os.setgid(65534)
os.setuid(65534)
s.listen()
print("ready", flush=True)
time.sleep(600)' "$RONDO_RUNTIME/cloop.sock"
wait_until 10 grep -q ready "$TMPDIR/impostor.log" || bail_out "the impostor listens"
refused '^[1-9].*cloop.sock runs as another user' "a rondo-cloop of another user"
done_testing
