#!/bin/bash
# Machines to try in the browser are for pages of the server itself: tokens work once, frames are those of the standard, caps and limits hold,
# and everything ends with the connection, and with the server. With a script in the place of rondo: no machine boots here.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 curl
make_disk "$TMPDIR/disk" 1
must_publish tiny 1 "$TMPDIR/disk"
must_publish other 1 "$TMPDIR/disk"
mkdir "$TMPDIR/bin"
cp "$BUILD/rondo-server" "$TMPDIR/bin/"
cat >"$TMPDIR/bin/rondo" <<'END'
#!/bin/sh
echo $$ >>"$RONDO_HOME/processes"
echo "started $2"
case $2 in */ends) exit 0 ;; esac
exec cat
END
chmod +x "$TMPDIR/bin/rondo"

serve() { # OPTION…
	port=$(free_port)
	start_process server "$TMPDIR/bin/rondo-server" --listen "127.0.0.1:$port" --log "$TMPDIR/access.log" --state "$TMPDIR/state" --stall 1 "$@" "$site"
	server=$process
	wait_until 10 grep -q '^listening' "$TMPDIR/server.log" && return
	diag_file "$TMPDIR/server.log"
	grep -q 'without xterm.js' "$TMPDIR/server.log" && skip_all "rondo-server was built without xterm.js"
	bail_out "the server starts"
}
client() {
	python3 "$ROOT/tests/hostile/T33_consoles.py" "$port" "$@"
}
token() { # [ADDRESS [IMAGE]]: a token, waiting until the place of the one before is free
	local answer
	for _ in $(seq 100); do
		answer=$(client token "${2:-tiny}" "http://127.0.0.1:$port" "${1:-192.0.2.1}")
		[ "${answer%% *}" != 429 ] && [ "${answer%% *}" != 503 ] && break
		sleep 0.05
	done
	echo "${answer#200 }"
}
hold() { # NAME TOKEN: in the background, until the server closes
	start_process "$1" python3 "$ROOT/tests/hostile/T33_consoles.py" "$port" hold "$2"
	wait_until 10 grep -q '^open' "$TMPDIR/$1.log"
}
alive() { # how many processes the script was that still are
	local pid n=0
	for pid in $(cat "$TMPDIR/state/try/home/processes" 2>/dev/null); do
		! kill -0 "$pid" 2>/dev/null || n=$((n + 1))
	done
	echo "$n"
}

run "$TMPDIR/bin/rondo-server" --try 2 "$site"
status_is 2 "--try needs a state folder"
run "$TMPDIR/bin/rondo-server" --state "$TMPDIR/state" --try 2,memory=1 "$site"
like "$status $err" '^2 .*memory=1: a machine needs 64.0 MiB at least' "and machines that can be"
run "$TMPDIR/bin/rondo-server" --state "$TMPDIR/state" --try 2,memory=4096T "$site"
like "$status $err" '^2 .*2 machines of 4.0 PiB each are more than' "and fit into the computer"
serve
is "$(curl -s -o "$TMPDIR/answer" -w '%{http_code}' -X POST -H "Origin: http://127.0.0.1:$port" "http://127.0.0.1:$port/api/v1/try/tiny")" 405 "without --try there are no tokens"
is "$(curl -s -o "$TMPDIR/answer" -w '%{http_code}' "http://127.0.0.1:$port/try/tiny")" 404 "and no page"
stop_process "$server"

serve --try 2
t=$(client token tiny)
like "$t" '^200 [A-Za-z0-9_-]{43}$' "a page of the server gets a token"
t=${t#200 }
is "$(client token tiny http://evil.example)" "403 this is for pages of this server alone" "another page gets none"
is "$(client token tiny '')" "403 this is for pages of this server alone" "nor does who names no page"
is "$(client token ..%2Ftiny)" "404 there is no such image" "nor does who asks for what is no image's name"
is "$(client token none)" "404 there is no such image" "or for an image that is not there"
is "$(curl -s -o "$TMPDIR/answer" -w '%{http_code}' "http://127.0.0.1:$port/try/none")" 404 "which has no page"
like "$(curl -s -i -H 'Accept: text/html,*/*;q=0.8' "http://127.0.0.1:$port/try/none")" '^HTTP/1.1 404.*text/html.*There is no such page.*href="/">See all images' "of which a browser is told on a page"
is "$(client open "")" 403 "no token, no socket"
is "$(client open "${t%?}-")" 403 "nor with another token"
is "$(client open "$t" Origin=http://evil.example)" 403 "nor from a foreign page"
is "$(client open "$t" Origin=)" 403 "nor from none"
is "$(client open "$t" Sec_WebSocket_Version=8)" "426 13" "nor in another version"
is "$(client open "$t" Sec_WebSocket_Key=short)" 400 "nor without a key"
is "$(client open "$t" Upgrade=)" "426 13" "nor as a plain request"
is "$(client open "$t")" 101 "none of these has used the token up, which opens a socket"
is "$(client open "$t")" 403 "once"
unlike "$(cat "$TMPDIR/access.log")" "$t" "the log does not have it"

check() { # WHAT STATUS HEX…: frames that are refused, masked with zeros
	local what=$1 wanted=$2
	shift 2
	is "$(client frames "$(token)" "$@")" "$wanted" "closed: $what"
}
check "a frame that is not masked" 1002 820161
check "an unknown opcode" 1002 838000000000
check "reserved bits" 1002 c28000000000
check "a fragment of nothing" 1002 808000000000
check "a message within a message" 1002 028000000000 828000000000
check "a control frame in pieces" 1002 098000000000
check "a control frame of 126 bytes" 1002 89fe007e
check "text" 1003 818000000000
check "a frame of 4097 bytes" 1009 82fe1001
check "a frame of 2^63 bytes" 1009 82ff7fffffffffffffff
check "whoever closes" 1000 888203e8000000000000

hold first "$(token 192.0.2.1)"
is "$(client token tiny "http://127.0.0.1:$port" 192.0.2.1)" "429 you have a machine already" "an address has one machine"
hold second "$(token 192.0.2.2)"
is "$(client token tiny "http://127.0.0.1:$port" 192.0.2.3)" "503 all machines are in use" "and there are no more than --try says"
sleep 2.5 # more than two windows of --stall
is "$(alive)" 2 "a console that shows nothing is no slow client"
stop_process "$process"
ok "a connection that is gone takes its machine along" wait_until 10 eval '[ "$(alive)" = 1 ]'
stop_process "$server"
is "$status" 0 "the server ends"
is "$(alive)" 0 "and its machines with it"
ok "whose visitors are told" wait_until 10 grep -q 'closed 1001' "$TMPDIR/first.log"

# A host that takes its time: whoever asked first has left, and the late answer is nobody else's.
serve --try 2
hold first "$(token 192.0.2.1)"
ok "a machine runs" wait_until 10 grep -q 'started .*/tiny' "$TMPDIR/first.log"
host=$(ps -o ppid= -p "$(tail -n 1 "$TMPDIR/state/try/home/processes")")
kill -STOP "$host"
is "$(client open "$(token 192.0.2.2)")" 101 "a visitor asks for another, and leaves"
hold second "$(token 192.0.2.2 other)"
kill -CONT "$host"
ok "the next one gets a machine" wait_until 20 grep -q started "$TMPDIR/second.log"
is "$(grep started "$TMPDIR/second.log")" "started $site/other" "of the image that was asked for"
kill -KILL "$host"
wait "$server"
is $? 1 "without the host the server ends"
like "$(cat "$TMPDIR/server.log")" "the host, which starts machines to try, has ended" "and says why"
ok "visitors are told" wait_until 10 grep -q 'closed 100[01]' "$TMPDIR/second.log"
ok "and no machine is left" wait_until 10 eval '[ "$(alive)" = 0 ]'

serve --try 2,idle=1,life=60
hold idle "$(token)"
ok "who types nothing is told" wait_until 10 grep -q 'nothing was typed for 1 second' "$TMPDIR/idle.log"
ok "and disconnected" wait_until 10 grep -q 'closed 1000' "$TMPDIR/idle.log"
is "$(alive)" 0 "the machine has ended"
done_testing
