# shellcheck shell=bash
# For tests of the whole product in the SVM lab: rondo, rondo-cloop and rondo-vmm there, on a real kvm-amd, fetch an image over HTTP
# from a rondo-server on this host (10.0.2.2 seen from there) and run it. Sourced after ../lib.sh, ../guest.sh and lib.sh.
#
#   need_product             skips the whole file where that cannot run
#   long_test SENTENCE       skips the whole file unless RONDO_TEST_LONG is set
#   serve_switchable SITE    rondo-server on a free port: sets $port, and $switch, the port of a web server which stops it, asked for
#                            /down, and starts it again at /up
#   lab_product [OPTION…]    run_svm with the product and these options. The script is standard input, for BusyBox's shell; each of its
#                            checks is a result of this test, and so is its end; a failed one ends it. It has the functions below, and $url, $switch.
#
# In the lab's script:
#   check WHAT COMMAND…      a result: passes if the command succeeds
#   begin NAME IMAGE OPTION… rondo run --engine kvm --no-keep, in the background; its console is in /tmp/NAME.console, what rondo says in /tmp/NAME.said
#   type_in NAME [LINE]      types a line into it
#   shows NAME REGEX [SECONDS [TIMES]]  waits until its console has shown lines that match (200 s, once)
#   ended NAME CODE [SECONDS]  waits until it has ended (120 s): true if its exit code was that
#   wait_until SECONDS COMMAND…
#   process_of PROGRAM       the process ids of that program's
#   base64_of COMMAND        for the tiny appliance: --append "ro rondo.run=$(base64_of COMMAND)"

need_product() {
	need_lab_svm
	need passt fusermount3 python3
}

long_test() {
	[ -n "${RONDO_TEST_LONG:-}" ] || skip_all "$1; make test-long runs it"
}

serve_switchable() {
	port=$(free_port)
	switch=$(free_port)
	start_process switch python3 -c '
import http.server, socket, subprocess, sys, time
port, switch, log, site = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
server = None
def down():
    global server
    if server:
        server.kill()
        server.wait()
    server = None
def up():
    global server
    server = server or subprocess.Popen(["rondo-server", "--listen", f"127.0.0.1:{port}", "--log", log, site])
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
class Switch(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        {"/up": up, "/down": down}[self.path]()
        self.send_response(200)
        self.end_headers()
up()
http.server.HTTPServer(("127.0.0.1", switch), Switch).serve_forever()' "$port" "$switch" "$TMPDIR/access.log" "$1"
	wait_for_port "$switch" || bail_out "rondo-server does not start"
}

lab_product() {
	local line
	{
		printf '#!/bin/sh\nurl=http://10.0.2.2:%s switch=http://10.0.2.2:%s\n' "$port" "${switch:-}"
		cat "$ROOT/tests/lab/product_functions" -
	} >"$TMPDIR/script"
	lab_svm --program "$BUILD/rondo" --program "$BUILD/rondo-cloop" --program "$BUILD/rondo-vmm" --program passt --program fusermount3 \
		--network "$@" "$TMPDIR/script"
	while IFS= read -r line; do
		case $line in
		"pass: "*) pass "${line#pass: }" ;;
		"fail: "*) fail "${line#fail: }" ;;
		*) diag "$line" ;;
		esac
	done < <(tr -d '\r' <"$TMPDIR/run.out")
	is "$status $err" "0 " "the lab's script came to its end"
}
