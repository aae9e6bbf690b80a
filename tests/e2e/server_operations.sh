#!/bin/bash
# rondo-server under a supervisor: its log opened anew on SIGHUP, a socket that is handed over, what it tells who watches it.
. "$(dirname "$0")/../lib.sh"
need curl python3

site=$TMPDIR/site
mkdir -p "$site" "$TMPDIR/logs"
printf 'rondo-catalog 1\n' >"$site/catalog.rondo"
log=$TMPDIR/logs/access.log

# started NAME: waits for a server that start_process has started; sets $url.
started() {
	wait_until 10 grep -q '^listening on' "$TMPDIR/$1.log" || bail_out "$1 starts"
	url=$(sed -n 's/^listening on //p' "$TMPDIR/$1.log")
}
fetch() {
	curl -sS --max-time 20 -o /dev/null -w '%{http_code}' "$url$1"
}
descriptors() {
	find "/proc/$server/fd" -mindepth 1 | wc -l
}

# --- SIGHUP ----------------------------------------------------------------------------------------------------------

start_process server rondo-server --listen 127.0.0.1:0 --log "$log" "$site"
server=$process
started server
is "$(fetch before)" 404 "it serves"
ok "its log has the request" grep -q ' /before 404 ' "$log"
open_files=$(descriptors)
mv "$log" "$log.1"
is "$(fetch renamed)" 404 "the log may be renamed"
ok "the line goes to the old file still" grep -q ' /renamed 404 ' "$log.1"
kill -HUP "$server"
ok "SIGHUP makes a new one" wait_until 10 test -e "$log"
ok "it says so" wait_until 10 grep -q 'opened anew' "$TMPDIR/server.log"
is "$(fetch after)" 404 "it goes on"
is "$(cut -d ' ' -f 4 "$log")" /after "in the new file there is the new line alone"
is "$(wc -l <"$log.1")" 2 "and in the old one none more"
# Under load: no line is lost, none is torn.
for _ in {1..5}; do printf 'url = "%sloaded"\noutput = /dev/null\n' "$url" "$url" "$url" "$url"; done >"$TMPDIR/urls"
loaded() {
	local i
	for i in {1..5}; do curl -sS --max-time 20 -K "$TMPDIR/urls" >/dev/null || return 1; done
}
loaded &
loader=$!
for i in {2..9}; do
	mv "$log" "$log.$i"
	kill -HUP "$server"
	wait_until 10 test -e "$log" || break
done
wait "$loader"
is $? 0 "SIGHUP again and again, while requests are answered"
is "$(cat "$log" "$log".? | awk 'NF == 7 && $4 == "/loaded"' | wc -l)" 100 "each request is a whole line of one of the files"
is "$(descriptors)" "$open_files" "and no descriptor is left over"

rm -r "$TMPDIR/logs"
kill -HUP "$server"
ok "a log that cannot be opened: a warning" wait_until 10 grep -q 'goes on in the old file: cannot write the access log' "$TMPDIR/server.log"
is "$(fetch still)" 404 "and it goes on"
stop_process "$server"
is "$status" 0 "it ends as asked"

start_process quiet setsid rondo-server --listen 127.0.0.1:0 "$site"
started quiet
kill -HUP "$process"
is "$(fetch catalog.rondo)" 200 "without a log and a terminal SIGHUP changes nothing"
if command -v script >/dev/null; then
	mkfifo "$TMPDIR/keyboard"
	script -qec "rondo-server --listen 127.0.0.1:0 '$site' >'$TMPDIR/terminal.log' & echo \$! >'$TMPDIR/pid'; cat" /dev/null \
		<"$TMPDIR/keyboard" >/dev/null 2>&1 &
	exec 8>"$TMPDIR/keyboard"
	started terminal
	exec 8>&-
	ok "at a terminal it ends when that hangs up" wait_until 10 eval '! [ -e "/proc/$(cat "$TMPDIR/pid")" ]'
	wait $!
else
	skip "at a terminal it ends when that hangs up" "the command script is missing"
fi

# A device that is no terminal.
port=$(free_port)
start_process nowhere sh -c "exec rondo-server --listen 127.0.0.1:$port '$site' >/dev/null"
ok "its first line may go to /dev/null" wait_for_port "$port"
stop_process "$process"
is "$status" 0 "and it ends as asked"

# --- socket activation -----------------------------------------------------------------------------------------------

# Listens as a service manager does, and becomes the command behind the arguments: KIND (tcp, six, udp, unheard), PORT,
# COUNT of sockets that it tells of, PID to tell (0: its own).
cat >"$TMPDIR/activate.py" <<'END'
import os, socket, sys
kind, port, count, pid = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
s = socket.socket(socket.AF_INET6 if kind == "six" else socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("::1" if kind == "six" else "127.0.0.1", port))
if kind in ("tcp", "six"):
    s.listen(16)
print("bound", flush=True)
if s.fileno() == 3:
    os.set_inheritable(3, True)
else:
    os.dup2(s.fileno(), 3)
os.environ.update(LISTEN_FDS=count, LISTEN_PID=str(pid or os.getpid()), LISTEN_FDNAMES="web")
os.execvp(sys.argv[5], sys.argv[5:])
END
activate() {
	python3 "$TMPDIR/activate.py" "$@"
}

port=$(free_port)
start_process activated python3 "$TMPDIR/activate.py" tcp "$port" 1 0 rondo-server "$site"
started activated
is "$url" "http://127.0.0.1:$port/" "the socket that was handed over is the one that it listens on"
is "$(fetch catalog.rondo)" 200 "and serves on"
stop_process "$process"
is "$status" 0 "it ends as asked"
start_process through python3 "$TMPDIR/activate.py" tcp "$port" 1 0 rondo serve --log "$TMPDIR/through.access" "$site"
started through
is "$url $(fetch catalog.rondo)" "http://127.0.0.1:$port/ 200" "the same through rondo serve, with a log"
stop_process "$process"
# Started again and again on one socket, while clients come: connections wait, and the socket stays as it was.
cat >"$TMPDIR/again.py" <<'END'
import os, socket, sys, threading, time
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(64)
def start():
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(w, 1)
        os.set_inheritable(3, True) if listener.fileno() == 3 else os.dup2(listener.fileno(), 3)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.execvp(sys.argv[1], sys.argv[1:])
    os.close(w)
    if not os.read(r, 100).startswith(b"listening on"):
        failures.append("it does not start again")
    os.close(r)
    return pid
answered, failures, over = 0, [], False
def ask():
    global answered
    while not over and not failures:
        got = b""
        try:
            with socket.create_connection(listener.getsockname(), 20) as s:
                s.sendall(b"GET /catalog.rondo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                while more := s.recv(4096):
                    got += more
        except OSError as e:
            got = str(e).encode()
        answered += 1
        if not got.startswith(b"HTTP/1.1 200"):
            failures.append(got)
server = start()
clients = [threading.Thread(target=ask) for _ in range(2)]
for c in clients:
    c.start()
for i in range(4):
    while answered < 20 * (i + 1) and not failures:
        time.sleep(0.01)
    os.kill(server, 15)
    if os.waitpid(server, 0)[1] != 0:
        failures.append("it ended with a failure")
    server = start()
over = True
for c in clients:
    c.join()
os.kill(server, 15)
os.waitpid(server, 0)
print(failures or "all")
END
run python3 "$TMPDIR/again.py" "$BUILD/rondo-server" "$site"
is "$out" all "a server that is started again on its socket loses no connection"
start_process foreign python3 "$TMPDIR/activate.py" tcp "$port" 1 1 rondo-server --listen 127.0.0.1:0 "$site"
started foreign
unlike "$url" ":$port/\$" "what was meant for another process is not taken"
is "$(fetch catalog.rondo)" 200 "and changes nothing"
if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
	start_process six python3 "$TMPDIR/activate.py" six "$port" 1 0 rondo-server "$site"
	started six
	is "$url" "http://[::1]:$port/" "IPv6 can be handed over, too"
else
	skip "IPv6" "this machine has none"
fi

port=$(free_port)
run activate tcp "$port" 1 0 rondo-server --listen 127.0.0.1:0 "$site"
status_is 2 "--listen beside a socket: exit 2"
like "$err" 'leave --listen out' "with what to do"
run activate tcp "$port" 2 0 rondo-server "$site"
status_is 2 "two sockets: exit 2"
like "$err" 'one ListenStream= line' "with what to write"
for kind in udp unheard; do
	run activate "$kind" "$port" 1 0 rondo-server "$site"
	status_is 2 "a socket that is not a listening one ($kind): exit 2"
	like "$err" 'no listening TCP socket' "which is told"
done
# --- who watches it --------------------------------------------------------------------------------------------------

metric() { # NAME[{LABEL}]
	curl -sS --max-time 20 "${url}metrics" | awk -v name="$1" '$1 == name { print $2 }'
}
mkdir "$TMPDIR/new"
start_process watched rondo-server --listen '[::]:0' --stall 1 "$TMPDIR/new"
started watched
url=http://127.0.0.1:${url##*:}
is "$(curl -sS --max-time 20 -w ' %{http_code}' "${url}healthz")" $'there is no catalog: nothing was published yet\n 503' "/healthz: 503 where nothing was published"
printf 'rondo-catalog 1\n' >"$TMPDIR/new/catalog.rondo"
is "$(curl -sS --max-time 20 -w ' %{http_code}' "${url}healthz")" $'ok\n 200' "and 200 where there is a catalog"
like "$(curl -sSI --max-time 20 "${url}healthz")" 'Cache-Control: no-store' "which no cache keeps"
is "$(fetch catalog.rondo) $(fetch nothing) $(fetch nothing)" "200 404 404" "some requests"
is "$(metric 'rondo_http_answers_total{code="404"}') $(metric 'rondo_http_answers_total{code="503"}')" "2 1" "/metrics counts them by status"
like "$(curl -sSI --max-time 20 "${url}metrics")" 'Content-Type: text/plain; version=0.0.4' "as Prometheus has it"
before=$(metric rondo_http_body_bytes_total)
fetch catalog.rondo >/dev/null
ok "and their bytes" test "$(metric rondo_http_body_bytes_total)" -ge $((before + 16))
like "$(metric rondo_http_connections) $(metric rondo_http_answers_under_way)" '^[1-9][0-9]* [1-9]' "connections, and answers under way: this one at least"
exec 9<>"/dev/tcp/127.0.0.1/$(sed 's|.*:||; s|/||' <<<"$url")" # never asks
ok "clients that make no progress are counted" wait_until 20 eval '[ "$(metric rondo_http_slow_clients_total)" -ge 1 ]'
exec 9>&-
is "$(curl -sS --max-time 20 -o /dev/null -w '%{http_code}' -X POST "${url}metrics")" 405 "another method is not allowed"
address=$(ip -4 -o address show scope global 2>/dev/null | sed -n 's/.* inet \([0-9.]*\).*/\1/p' | head -n 1)
if [ -n "$address" ]; then
	away=http://$address:${url##*:}
	is "$(curl -sS --noproxy '*' --max-time 20 -o /dev/null -w '%{http_code}' "${away}metrics")" 403 "/metrics is for this machine alone"
	is "$(curl -sS --noproxy '*' --max-time 20 -o /dev/null -w '%{http_code}' "${away}healthz")" 200 "/healthz for everybody"
else
	skip "/metrics is for this machine alone" "this machine has no other address"
	skip "/healthz for everybody" "this machine has no other address"
fi
is "$(curl -gsS --max-time 20 -o /dev/null -w '%{http_code}' "http://[::1]:${url##*:}metrics")" 200 "this machine has two loopback addresses"
done_testing
