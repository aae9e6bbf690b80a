#!/bin/bash
# T12: clients that ask slowly, send slowly, take slowly or do nothing at all lose their connection, and stop nobody else: visitors and
# publishers.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/publishers.sh"
need curl python3 minisign

make_keys owner alice bob
allow alice alice
allow bob bob
hash=$(printf 'ab%062d' 1)
mkdir -p "$site/objects/ab"
head -c 8000000 /dev/urandom >"$site/objects/ab/$hash"

cat >"$TMPDIR/slow.py" <<'END'
# slow.py PORT KIND COUNT SECONDS ADDRESS TOKEN: opens COUNT connections from ADDRESS and behaves badly on each, for at
# most so long. Prints "ready" when all are open; at the end, how many the server has closed, and after how many seconds the
# last one.
import select, socket, sys, time
port, kind, count, limit, address = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
token = sys.argv[6].encode()
path = b"/objects/ab/ab" + b"0" * 61 + b"1"
open_ones = {}
closed = 0
for i in range(count):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.bind((address, 0))
    s.settimeout(5)
    try:
        s.connect(("127.0.0.1", port))
        if kind in ("half", "drip"):
            s.sendall(b"GET /catalog.rondo HTTP/1.1\r\nHost: x\r\n")
        elif kind in ("stuck", "sip"):
            s.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        elif kind == "alive": # asks once, is answered, and stays
            s.sendall(b"GET /catalog.rondo HTTP/1.1\r\nHost: x\r\n\r\n")
        elif kind == "body":
            s.sendall(b"POST /api/v1/publish/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        elif kind == "upload":
            s.sendall(b"PUT /api/v1/publish/objects/%064d HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
                      b"Content-Length: 60000000\r\n\r\n" % (i, token))
        s.setblocking(False)
        open_ones[s.fileno()] = s
    except OSError:
        closed += 1
print("ready", flush=True)
start = last = time.monotonic()
poller = select.epoll()
for fd in open_ones:
    # A socket that is never read shows its end as a hang-up only.
    poller.register(fd, select.EPOLLRDHUP if kind == "stuck" else select.EPOLLRDHUP | select.EPOLLIN)
def gone(fd):
    global closed, last
    if fd in open_ones:
        poller.unregister(fd)
        open_ones.pop(fd).close()
        closed += 1
        last = time.monotonic()
while open_ones and time.monotonic() - start < limit:
    for fd, what in poller.poll(0.2):
        if what & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            gone(fd)
            continue
        if kind == "sip":
            continue
        try:
            if not open_ones[fd].recv(4096):
                gone(fd)
        except OSError:
            gone(fd)
    if kind in ("drip", "sip", "body", "upload"):
        for fd, s in list(open_ones.items()):
            try:
                if kind == "drip":
                    s.send(b"X: y\r\n")
                elif kind in ("body", "upload"):
                    s.send(b"k")
                elif not s.recv(100):
                    gone(fd)
            except BlockingIOError:
                pass
            except OSError:
                gone(fd)
        time.sleep(0.5)
print(closed, round(last - start), flush=True)
END

serve() { # NAME ARGUMENT…: sets $process, $port and $url
	local name=$1
	shift
	start_process "$name" "$@" --listen 127.0.0.1:0 --stall 3 "$site"
	wait_until 10 grep -q '^listening on' "$TMPDIR/$name.log" || bail_out "$name starts"
	url=$(sed -n 's/^listening on //p' "$TMPDIR/$name.log")
	port=${url##*:}
	port=${port%/}
}
attack() { # NAME KIND COUNT SECONDS [ADDRESS]
	start_process "$1" python3 "$TMPDIR/slow.py" "$port" "$2" "$3" "$4" "${5:-127.0.0.2}" "${token:--}"
	attacker=$process
	wait_until 30 grep -q ready "$TMPDIR/$1.log" || bail_out "the attack $1 begins"
}
good_client() { # SECONDS
	curl -sS --max-time "$1" -o "$TMPDIR/good" "${url}objects/ab/$hash" && cmp "$TMPDIR/good" "$site/objects/ab/$hash"
}
open_files() {
	find "/proc/$server/fd" -mindepth 1 2>/dev/null | wc -l
}
few_open_files() {
	[ "$(open_files)" -le $((files_before + 2)) ]
}

# Descriptors for 22 connections only, all of which are taken at once. (Looked at below.)
serve narrow bash -c 'ulimit -n 300; exec rondo-server "$@"' -
attack flood idle 40 15
flood=$attacker
start_process waiting curl -sS --max-time 15 -o "$TMPDIR/waited" "${url}objects/ab/$hash"
waiting=$process

serve server rondo-server --log "$TMPDIR/access" --state "$state" --site-key "$TMPDIR/owner"
server=$process
ok "a good client is served" good_client 5
open_session alice || bail_out "a session"
files_before=$(open_files)

# Slow, but honest: a small window, emptied steadily over more than two windows of ours. (curl --limit-rate reads in
# bursts, with seconds of nothing in between.)
cat >"$TMPDIR/honest.py" <<'END'
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
s.connect(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"GET " + sys.argv[2].encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
got, started = b"", time.monotonic()
while data := s.recv(8192):
    got += data
    time.sleep(max(0, len(got) / 800000 - (time.monotonic() - started)))
open(sys.argv[3], "wb").write(got.split(b"\r\n\r\n", 1)[1])
print(round(time.monotonic() - started))
END
start_process honest python3 "$TMPDIR/honest.py" "$port" "/objects/ab/$hash" "$TMPDIR/honest.got"
honest=$process

# One window is 3 s. Half a request gets one; idle connections and answers get at most two.
kinds=(half drip idle stuck sip alive body upload)
attackers=()
count_of() { # KIND: a publisher sends 8 objects at a time
	case $1 in
	upload) echo 8 ;;
	*) echo 200 ;;
	esac
}
for i in "${!kinds[@]}"; do
	attack "${kinds[i]}" "${kinds[i]}" "$(count_of "${kinds[i]}")" 20 "127.0.0.$((2 + i))"
	attackers+=("$attacker")
done
ok "200 of each kind do not stop a good client" good_client 5
ok "nor one who searches" curl -sS --max-time 5 -o "$TMPDIR/found" "${url}api/v1/search?q=first"
printf 'an object' >"$TMPDIR/object"
object=$(sha256sum "$TMPDIR/object" | cut -d ' ' -f 1)
may_send() { # NAME
	open_session "$1" && api PUT "objects/$object" --max-time 5 --data-binary "@$TMPDIR/object" && [ "$code" = 201 ]
}
ok "nor another publisher" may_send bob
for i in "${!kinds[@]}"; do
	kind=${kinds[i]} count=$(count_of "${kinds[i]}")
	wait "${attackers[i]}"
	read -r closed seconds < <(tail -n 1 "$TMPDIR/$kind.log")
	is "$closed" "$count" "$kind: all are closed"
	ok "$kind: after at most two windows ($seconds s)" test "$seconds" -le 8
	answered=$(grep -c " 127.0.0.$((2 + i)) " "$TMPDIR/access")
	case $kind in
	stuck | sip | alive) is "$answered" 200 "$kind: in the log as what they asked for" ;;
	*) is "$answered" 0 "$kind: not in the log, as nothing was asked" ;;
	esac
done
ok "the slow publisher may send again" wait_until 5 may_send alice
wait "$honest"
ok "a slow client that does take its bytes gets all of them ($(cat "$TMPDIR/honest.log") s)" cmp "$TMPDIR/honest.got" "$site/objects/ab/$hash"
ok "longer than two windows" [ "$(cat "$TMPDIR/honest.log")" -ge 7 ]
ok "their descriptors are free again" wait_until 5 few_open_files

attack crowd idle 400 2
ok "a crowd at one address: a good client at another is served" good_client 5
held=$(grep -c "$(printf '0100007F:%04X' "$port") 0200007F:[0-9A-F]\\{4\\} 01" /proc/net/tcp)
ok "and the crowd holds at most 256 connections ($held)" test "$held" -le 256
wait "$attacker"
memory=$(awk '/^VmHWM/ { print $2 }' "/proc/$server/status")
ok "memory stayed small ($memory kB)" test "$memory" -lt 65536

like "$(cat "$TMPDIR/narrow.log")" 'at most 22 connections.*ulimit -n' "few descriptors: fewer connections, and a warning"
wait "$waiting"
ok "when all are taken, a good client waits until the bad ones are closed" cmp "$TMPDIR/waited" "$site/objects/ab/$hash"
stop_process "$flood"
serve_nobody() {
	(ulimit -n 200 && exec rondo-server --listen 127.0.0.1:0 "$site")
}
run serve_nobody
status_is 1 "too few descriptors to serve anybody: an error"
like "$err" 'ulimit -n' "that says what to raise"
kill -0 "$server"
is $? 0 "the server has survived all of it"
done_testing
