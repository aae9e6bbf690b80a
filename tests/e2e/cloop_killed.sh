#!/bin/bash
# time-limit: 600
# rondo-cloop is killed again and again while files are read: every byte is right, whichever way a successor goes on.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3
need_fuse

make_disk "$TMPDIR/disk" 48
must_publish image 1 "$TMPDIR/disk"
export MANIFEST=$out DISK=$TMPDIR/disk
start_process server rondo-server --listen 127.0.0.1:0 "$site"
wait_until 10 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "the server starts"
port=$(sed -n 's/^listening on .*:\([0-9]*\).*/\1/p' "$TMPDIR/server.log")
# A slow link, so that reads are outstanding for most of the time.
"$BUILD/tests/bench/relay" 0 "$port" 40 40 >"$TMPDIR/relay.port" 2>"$TMPDIR/relay.log" &
relay=$!
at_exit "kill $relay"
wait_until 10 grep -q . "$TMPDIR/relay.port" || bail_out "the relay starts"
export SITE="http://127.0.0.1:$(head -n 1 "$TMPDIR/relay.port")/"

# Ends with one line: kills, those with reads outstanding, readers, readers that saw wrong bytes or an error.
killing() {
	PYTHONPATH=$ROOT/tests timeout 200 python3 - "$@" <<'PYTHON'
import os, random, subprocess, sys, time
from cloop_client import Client, kill, start

way, kills_wanted = sys.argv[1], int(sys.argv[2])
env = dict(os.environ)
if way == "slots":
    env["RONDO_CLOOP_RESEND"] = "0"
log = open(os.environ["TMPDIR"] + f"/cloop.{way}.log", "a")
manifest, site, disk = os.environ["MANIFEST"], os.environ["SITE"], os.environ["DISK"]
process = start(env=env, log=log)
client = Client()
folder = client.open(manifest, site)
session = client.hold()
file = folder + "/disk"

def reader(i):
    if i % 2:  # past the kernel's cache, in other pieces each
        size = [131072, 65536, 1 << 20][i % 3]
        return f"set -o pipefail; dd if='{file}' bs={size} iflag=direct status=none | cmp - '{disk}'"
    return f"cmp '{file}' '{disk}'"

readers = [subprocess.Popen(["bash", "-c", reader(i)]) for i in range(5)]
kills = outstanding = 0
while kills < kills_wanted:
    time.sleep(random.uniform(0.05, 0.3))
    outstanding += kill(process.pid) > 0
    kills += 1
    process.wait()
    client.close()
    if kills % 3 == 0:  # somebody else starts the successor, which finds the mount, and is offered the session
        process = subprocess.Popen([os.environ["BUILD"] + "/rondo-cloop"], env=env, stderr=log, start_new_session=True)
        while True:
            try:
                client = Client()
                if client.pid() == process.pid:
                    break
            except OSError:
                time.sleep(0.01)
        answer = client.handover(session)
        assert answer == "", answer
    elif kills % 3 == 1:
        process = start(*session.arguments(), fds=session.fds(), env=env, log=log)
        client = Client()
        assert client.handover(session) == "unneeded"
    else:
        process = start(*session.arguments(), fds=session.fds(), env=env, log=log)
        client = Client()
    again = client.open(manifest, site)
    assert again == folder, again
    held = client.hold()
    session.close()
    session = held
failed = sum(r.wait() != 0 for r in readers)
print(kills, outstanding, len(readers), failed)
assert client.counts()["wrong"] == 0
session.close()
client.ask("quit")
client.close()
process.wait(20)
PYTHON
}

for way in resend slots; do
	run killing "$way" 24
	status_is 0 "the killing comes to its end ($way)"
	read -r kills outstanding readers failed <<<"$out"
	diag "$way: ${kills:-0} kills, ${outstanding:-0} with reads outstanding"
	is "${failed:-none}" 0 "${readers:-0} readers read every byte right, through ${kills:-0} kills ($way)"
	ok "at least 5 kills had reads outstanding ($way: ${outstanding:-0})" test "${outstanding:-0}" -ge 5
	if [ "$way" = slots ]; then
		ok "requests were answered from the slots" grep -q '[1-9][0-9]* requests at .* stand in the slots' "$TMPDIR/cloop.slots.log"
	fi
	is "$(grep -c "taking away" "$TMPDIR/cloop.$way.log")" 0 "the mount was never given up ($way)"
	not_ok "the mount is gone at the end ($way)" mountpoint -q "$RONDO_RUNTIME/mnt"
	rm -rf "$RONDO_CACHE"
done

# Everything at once: nobody holds the session, so the mount is dead. The next start takes it away.
run env PYTHONPATH="$ROOT/tests" timeout 100 python3 - <<'PYTHON'
import errno, os, signal
from cloop_client import Client, start
manifest, site = os.environ["MANIFEST"], os.environ["SITE"]
process = start()
client = Client()
folder = client.open(manifest, site)
f = os.open(folder + "/manifest", os.O_RDONLY)
os.kill(process.pid, signal.SIGKILL)
process.wait()
client.close()
try:
    os.stat(folder + "/nothing")
    raise SystemExit("the mount still answers")
except OSError as e:
    assert e.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO), e
os.close(f)
process = start()
client = Client()
folder = client.open(manifest, site)
assert open(folder + "/manifest").readline() == "rondo-manifest 1\n"
client.ask("quit")
client.close()
process.wait(20)
PYTHON
status_is 0 "a dead mount is taken away by the next start"

# A session that nobody hands over is given up after a while; what is damaged is not gone on with.
run env PYTHONPATH="$ROOT/tests" timeout 100 python3 - <<'PYTHON'
import mmap, os, signal, time
from cloop_client import Client, Session, start
manifest, site = os.environ["MANIFEST"], os.environ["SITE"]
process = start()
client = Client()
folder = client.open(manifest, site)
old = client.hold()
f = os.open(folder + "/disk", os.O_RDONLY)
os.kill(process.pid, signal.SIGKILL)
process.wait()
client.close()
begin = time.monotonic()
process = start()
waited = time.monotonic() - begin
assert 2.5 < waited < 20, waited
client = Client()
assert client.handover(old) == "unneeded"
assert client.open(manifest, site) == folder
assert open(folder + "/manifest").readline() == "rondo-manifest 1\n"
old.close()
try:
    os.pread(f, 4096, 0)
    raise SystemExit("a session that was given up still answers")
except OSError:
    pass
held = client.hold()
f = os.open(folder + "/disk", os.O_RDONLY)
with mmap.mmap(held.state, 0) as m:
    m[0:8] = b"DAMAGED!"
os.kill(process.pid, signal.SIGKILL)
process.wait()
client.close()
with open(os.environ["TMPDIR"] + "/damaged.log", "w") as log:
    process = start(*held.arguments(), fds=held.fds(), log=log)
client = Client()
assert client.open(manifest, site) == folder
assert open(folder + "/manifest").readline() == "rondo-manifest 1\n"
held.close()
signal.alarm(20)
try:
    os.pread(f, 4096, 1 << 20)
    raise SystemExit("a damaged session still answers")
except OSError:
    pass
signal.alarm(0)
client.ask("quit")
client.close()
process.wait(20)
PYTHON
status_is 0 "a session that nobody hands over in time, or a damaged one, is replaced by a new mount, and its readers get an error"
like "$(cat "$TMPDIR/damaged.log")" "session's state is of no use: another version" "and the reason is said"
done_testing
