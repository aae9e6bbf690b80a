# shellcheck shell=bash
# What shell tests share. A test begins with
#
#   #!/bin/bash
#   # One sentence: the behaviour that is tested.
#   . "$(dirname "$0")/../lib.sh"
#
# and ends with `done_testing`, or has begun with `plan N`. Started directly, it runs itself under tests/tap, so
# that the environment (ROOT, BUILD, TMPDIR, …) is always the one described there.
#
# Results
#   plan N                        N tests will follow
#   ok WHAT COMMAND…              passes if the command succeeds; else its output is shown
#   not_ok WHAT COMMAND…          passes if the command fails
#   is GOT WANTED WHAT            passes if the two texts are equal
#   like GOT REGEX WHAT           passes if the extended regular expression matches
#   unlike GOT REGEX WHAT         passes if it does not
#   pass WHAT, fail WHAT          decided by the test itself
#   skip WHAT REASON              counted as passed, not tested
#   skip_all REASON               ends the whole test file as skipped; only before the first result
#   bail_out WHAT                 fails and ends this test file: what follows would make no sense
#   diag TEXT…, diag_file FILE    shown beside the results
#   done_testing                  the end, where there was no plan
#
# Commands
#   run COMMAND…                  sets $status, $out and $err; never fails. Exact bytes: $TMPDIR/run.out, run.err
#   run_rondo ARGUMENT…           the same for build/rondo
#   status_is N WHAT              passes if the last run ended with exit code N; else shows what it printed
#
# Needs: each skips the whole file when something is missing
#   need COMMAND…    need_fuse    need_kvm
#
# Processes and ports
#   start_process NAME COMMAND…   in the background; sets $process to its id; output goes to $TMPDIR/NAME.log
#   stop_process ID               SIGTERM, SIGKILL after 5 s; sets $status to its exit code
#   free_port                     prints a free TCP port of 127.0.0.1
#   wait_for_port PORT [SECONDS]  until something listens there (10 s)
#   wait_until SECONDS COMMAND…   until the command succeeds
#
# Cleanup
#   at_exit 'COMMAND'             run at the end, last one first, also after failures and signals

if [ -z "${RONDO_TEST:-}" ]; then
	exec "$(dirname "${BASH_SOURCE[0]}")/tap" "$0" "$@"
fi
set -u

tap_count=0
tap_failed=0
tap_planned=
tap_pid=$BASHPID
cleanup_commands=()
status=0 out='' err='' process=''

diag() {
	local line
	while IFS= read -r line; do
		printf '# %s\n' "$line" >&2
	done <<<"$*"
}

diag_file() {
	local line
	printf '# --- %s (its end)\n' "$1" >&2
	tail -n 40 -- "$1" | while IFS= read -r line; do printf '# %s\n' "$line" >&2; done
}

plan() {
	tap_planned=$1
	printf '1..%s\n' "$1"
}

tap_result() { # 0 or not, WHAT
	tap_count=$((tap_count + 1))
	# "#" begins a directive in TAP
	if [ "$1" -eq 0 ]; then
		printf 'ok %d - %s\n' "$tap_count" "${2//#/\\#}"
		return 0
	fi
	tap_failed=$((tap_failed + 1))
	printf 'not ok %d - %s\n' "$tap_count" "${2//#/\\#}"
	diag "failed at ${BASH_SOURCE[2]##*/} line ${BASH_LINENO[1]}"
	return 1
}

pass() {
	tap_result 0 "$1"
}

fail() {
	tap_result 1 "$1"
}

ok() {
	local what=$1 code
	shift
	"$@" >"$TMPDIR/ok.log" 2>&1
	code=$?
	tap_result "$code" "$what" && return 0
	diag "exit code $code: $*"
	diag_file "$TMPDIR/ok.log"
	return 1
}

not_ok() {
	local what=$1
	shift
	if "$@" >"$TMPDIR/ok.log" 2>&1; then
		tap_result 1 "$what"
		diag "succeeded, but should have failed: $*"
		diag_file "$TMPDIR/ok.log"
		return 1
	fi
	tap_result 0 "$what"
}

is() {
	if [ "$1" = "$2" ]; then
		tap_result 0 "$3"
		return 0
	fi
	tap_result 1 "$3"
	diag "     got: $1"
	diag "  wanted: $2"
	return 1
}

like() {
	if [[ $1 =~ $2 ]]; then
		tap_result 0 "$3"
		return 0
	fi
	tap_result 1 "$3"
	diag "                 got: $1"
	diag "  wanted a match with: $2"
	return 1
}

unlike() {
	if ! [[ $1 =~ $2 ]]; then
		tap_result 0 "$3"
		return 0
	fi
	tap_result 1 "$3"
	diag "                  got: $1"
	diag "  wanted no match with: $2"
	return 1
}

skip() {
	tap_count=$((tap_count + 1))
	printf 'ok %d - %s # SKIP %s\n' "$tap_count" "${1//#/\\#}" "$2"
}

skip_all() {
	if [ "$tap_count" -gt 0 ] || [ -n "$tap_planned" ]; then
		bail_out "skip_all after the first result: $1"
	fi
	tap_planned=0
	printf '1..0 # SKIP %s\n' "$1"
	exit 0
}

bail_out() {
	tap_result 1 "$1"
	exit 1
}

done_testing() {
	tap_planned=$tap_count
	printf '1..%d\n' "$tap_count"
	exit 0 # the exit handler turns failures into 1
}

need() {
	local command
	for command in "$@"; do
		command -v "$command" >/dev/null || skip_all "the command $command is missing"
	done
}

need_fuse() {
	need fusermount3
	[ -r /dev/fuse ] && [ -w /dev/fuse ] || skip_all "/dev/fuse cannot be opened"
}

need_kvm() {
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip_all "/dev/kvm cannot be opened"
}

run() {
	"$@" >"$TMPDIR/run.out" 2>"$TMPDIR/run.err"
	status=$?
	# shellcheck disable=SC2034 # for the tests
	out=$(tr -d '\0' <"$TMPDIR/run.out")
	# shellcheck disable=SC2034
	err=$(tr -d '\0' <"$TMPDIR/run.err")
	return 0
}

run_rondo() {
	run "$BUILD/rondo" "$@"
}

status_is() {
	if [ "$status" -eq "$1" ]; then
		tap_result 0 "$2"
		return 0
	fi
	tap_result 1 "$2"
	diag "exit code $status, wanted $1"
	diag_file "$TMPDIR/run.out"
	diag_file "$TMPDIR/run.err"
	return 1
}

at_exit() {
	cleanup_commands+=("$1")
}

# A port below the range that the kernel gives to outgoing connections, which would otherwise take it before the
# test's server does.
free_port() {
	perl -MIO::Socket::INET -e '
		for (1 .. 1000) {
			my $port = 10000 + int rand 22000;
			my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => $port) or next;
			print "$port\n";
			exit 0;
		}
		exit 1;'
}

wait_until() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.05
	done 2>/dev/null
}

port_answers() {
	(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

wait_for_port() {
	wait_until "${2:-10}" port_answers "$1" && return 0
	diag "nothing listens at port $1"
	return 1
}

start_process() {
	local name=$1
	shift
	: >"$TMPDIR/$name.log" # by us: the child may come to it after we looked there for its first words, and met its namesake's
	"$@" </dev/null >"$TMPDIR/$name.log" 2>&1 &
	process=$!
	at_exit "stop_process $process"
}

stop_process() {
	local pid=$1 deadline=$((SECONDS + 5))
	if kill -TERM "$pid" 2>/dev/null; then
		while kill -0 "$pid" 2>/dev/null; do
			if [ "$SECONDS" -ge "$deadline" ]; then
				kill -KILL "$pid" 2>/dev/null
				break
			fi
			sleep 0.02
		done
	fi
	wait "$pid" 2>/dev/null
	status=$?
}

tap_end() {
	local code=$? i
	[ "$BASHPID" = "$tap_pid" ] || return "$code" # a subshell ends; the test goes on
	trap '' INT TERM HUP
	for ((i = ${#cleanup_commands[@]} - 1; i >= 0; i--)); do
		eval "${cleanup_commands[i]}"
	done
	if [ "$code" -eq 0 ] && [ -z "$tap_planned" ]; then
		diag "the test ended without done_testing"
		code=1
	fi
	[ "$code" -ne 0 ] || [ "$tap_failed" -eq 0 ] || code=1
	exit "$code"
}
trap tap_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
