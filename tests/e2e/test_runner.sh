#!/bin/bash
# The test runner and the shell library themselves: results, time limit, cleanup after failures and signals.
. "$(dirname "$0")/../lib.sh"

# script NAME: writes an executable test from stdin, which begins with the library.
script() {
	printf '#!/bin/bash\n%s\n. "%s/tests/lib.sh"\n' "${2:-}" "$ROOT" >"$TMPDIR/$1"
	cat >>"$TMPDIR/$1"
	chmod +x "$TMPDIR/$1"
}
tap() {
	local name=$1
	shift
	env -u RONDO_TEST "$ROOT/tests/tap" "$TMPDIR/$name" "$@"
}
# The process whose id this file holds runs no more (or waits to be reaped by whoever inherited it).
gone() {
	! grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$(cat "$1")/status" 2>/dev/null
}

script passing <<'END'
plan 3
pass 'one'
is "$RONDO_HOME" "$TMPDIR/home" 'two #2'
ok 'three' test -d "$TMPDIR"
echo "$TMPDIR" >"$1"
END
run tap passing "$TMPDIR/folder"
status_is 0 "a passing test passes"
is "$out" $'1..3\nok 1 - one\nok 2 - two \\#2\nok 3 - three' "its results are TAP"
not_ok "its folder is removed" test -e "$(cat "$TMPDIR/folder")"

script failing <<'END'
ok 'fails' false
not_ok 'fails too' true
is a b 'differs'
like abc '^b' 'no match'
unlike abc 'b' 'match'
done_testing
END
run tap failing
status_is 1 "a failing test fails"
is "$(grep -c '^not ok' "$TMPDIR/run.out")" 5 "every failure is reported"

script unfinished <<'END'
pass 'one'
END
run tap unfinished
status_is 1 "a test that ends without done_testing fails"

script skipping <<'END'
need no-such-command-anywhere
pass 'never'
END
run tap skipping
status_is 0 "a test that lacks a command is skipped"
is "$out" '1..0 # SKIP the command no-such-command-anywhere is missing' "and says why"

# printf, a program as unit tests are, says what cmocka says.
cp "$(type -P printf)" "$TMPDIR/unit"
run tap unit '1..7\n# skip: one (1 GiB)\nnot ok 1 # SKIP first\nnot ok 2 # SKIP second\nnot ok 3 - third\n# why\nnot ok 4 - fourth # TODO later\nnot ok 5 - fifth # SKIP\nok 6 - sixth\nnot ok 7'
is "$out" '1..7
ok 1 - first # SKIP one (1 GiB)
ok 2 - second # SKIP
not ok 3 - third
# why
not ok 4 - fourth # TODO later
not ok 5 - fifth # SKIP
ok 6 - sixth
not ok 7' "a skipped unit test is ok in TAP, with its reason, and nothing else changes"
cp "$(type -P false)" "$TMPDIR/unit"
run tap unit
status_is 1 "the exit code of a unit test is passed on"
script cmocka <<'END'
plan 1
printf 'not ok 1 # SKIP first\n'
END
run tap cmocka
is "$out" $'1..1\nnot ok 1 # SKIP first' "what scripts print is left as it is"

script slow '# time-limit: 1' <<'END'
at_exit "echo cleaned >'$1'"
start_process sleeper sleep 300
echo "$process" >"$2"
pass 'before'
sleep 300
done_testing
END
run tap slow "$TMPDIR/cleaned" "$TMPDIR/sleeper"
status_is 124 "a test over its time limit is ended"
like "$out" 'not ok - the time limit of 1 s has passed' "and reported"
is "$(cat "$TMPDIR/cleaned")" cleaned "its cleanup has run"
ok "its process has ended" gone "$TMPDIR/sleeper"

script stubborn '# time-limit: 1' <<'END'
trap '' TERM
bash -c 'trap "" TERM; echo $$ >"$1"; while :; do sleep 1; done' - "$1" &
wait
END
RONDO_TEST_GRACE=1 run tap stubborn "$TMPDIR/stubborn-process"
status_is 124 "a test that ignores SIGTERM is killed"
ok "its process too" gone "$TMPDIR/stubborn-process"

script interrupted <<'END'
trap 'echo interrupted >"$2"; exit 1' INT
at_exit "echo cleaned >'$1'"
kill -INT $$
done_testing
END
run tap interrupted "$TMPDIR/cleaned2" "$TMPDIR/interrupted"
is "$(cat "$TMPDIR/interrupted" "$TMPDIR/cleaned2")" $'interrupted\ncleaned' "SIGINT works in tests, and cleanup runs"

script terminated <<'END'
at_exit "echo first >>'$1'"
at_exit "echo second >>'$1'"
echo $$ >"$2"
sleep 300 &
wait
done_testing
END
env -u RONDO_TEST "$ROOT/tests/tap" "$TMPDIR/terminated" "$TMPDIR/order" "$TMPDIR/pid" >/dev/null 2>&1 &
runner=$!
ok "the test starts" wait_until 10 test -s "$TMPDIR/pid"
kill -TERM "$runner"
wait "$runner"
is $? 143 "a runner that is terminated ends with its test's code"
is "$(cat "$TMPDIR/order")" $'second\nfirst' "and the test cleans up, last thing first"

run bash -c 'printf "a\n"; printf "b\n" >&2; exit 7'
is "$status $out $err" "7 a b" "run captures exit code, stdout and stderr"

# Tests in a browser, where node is too old: they skip, nothing is installed, and both say why.
mkdir "$TMPDIR/old"
printf '#!/bin/sh\necho v16.20.2\n' >"$TMPDIR/old/node"
printf '#!/bin/sh\nfor package; do echo "installed $package"; done\n' >"$TMPDIR/old/dpkg-query"
printf '#!/bin/sh\ntouch "$0.called"\n' | tee "$TMPDIR/old/npm" "$TMPDIR/old/chromium" >"$TMPDIR/old/apt-get"
chmod +x "$TMPDIR/old/"*
run env PATH="$TMPDIR/old:$PATH" "$ROOT/tests/browser/pages.sh"
is "$status $out" "0 1..0 # SKIP playwright-core needs node 18 or later, and this is 16.20.2" "a browser that cannot be driven"
run env PATH="$TMPDIR/old:$PATH" "$ROOT/tests/prerequisites" browser
is "$status $out$err" "0 tests/prerequisites: the tests of the web pages skip themselves: playwright-core needs node 18 or later, and this is 16.20.2" "is not installed"
is "$(ls "$TMPDIR/old")" "$(printf '%s\n' apt-get chromium dpkg-query node npm)" "by nobody"

port=$(free_port)
start_process server perl -MIO::Socket::INET -e \
	'$s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => $ARGV[0]) or die; sleep 60' "$port"
ok "free_port is free and wait_for_port sees the listener" wait_for_port "$port"
stop_process "$process"
is "$status" 143 "stop_process ends it"
not_ok "nobody listens there any more" port_answers "$port"
done_testing
