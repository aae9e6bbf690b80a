#!/bin/bash
# Whoever takes rondo-server over from the network finds little left: each thread has the filter, which neither opens for writing, connects
# nor executes (tests/hostile/server.calls; tests/unit/test_confine.c proves that all else ends the process), and the rights are gone.
. "$(dirname "$0")/../lib.sh"
need curl
golden=$ROOT/tests/hostile/server.calls

is "$(grep -E '^[a-z-]+ (open|connect|socket|bind|execve|execveat|clone|clone3|fork|vfork|ptrace|kill|tgkill|dup|unlink|rename|mkdir|umount2|mount)[: ]' "$golden")" "" \
	"nothing that is allowed connects, executes, makes a process or changes a folder"
is "$(grep -E '^[a-z-]+ (openat|ioctl|fcntl|mmap|mprotect|madvise|prctl|setsockopt)[: ]' "$golden" | grep -vF '[')" "" "and what does several things is allowed for some"

mkdir "$TMPDIR/site"
printf 'rondo-catalog 1\n' >"$TMPDIR/site/catalog.rondo"
start_process server env RONDO_LOG=debug rondo-server --listen 127.0.0.1:0 --log "$TMPDIR/access.log" "$TMPDIR/site"
wait_until 10 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "the server starts"
url=$(sed -n 's/^listening on //p' "$TMPDIR/server.log")
is "$(curl -s "${url}catalog.rondo")" "rondo-catalog 1" "it serves"
of_threads() { # FIELD: its values in all threads
	grep -h "^$1:" "/proc/$process/task/"*/status | cut -f 2 | sort -u
}
is "$(of_threads Seccomp)" 2 "every thread has its filter"
is "$(of_threads NoNewPrivs)" 1 "and gets no new privileges"
if [ "$(id -u)" = 0 ]; then
	is "$(grep -hE '^Cap(Prm|Eff):' "/proc/$process/task/"*/status | cut -f 2 | sort -u)" 0000000000000004 "of root's capabilities, reading is left"
	is "$(of_threads CapBnd)" 0000000000000004 "for good"
else
	is "$(of_threads CapEff)" 0000000000000000 "it has no capability"
fi
is "$(grep '^Max core file size' "/proc/$process/limits" | tr -s ' ' | cut -d ' ' -f 5,6)" "0 0" "it leaves no dump"
is "$(grep '^Max data size' "/proc/$process/limits" | tr -s ' ' | cut -d ' ' -f 4,5)" "1073741824 1073741824" "it takes no memory without end"
files=$(grep '^Max open files' "/proc/$process/limits" | tr -s ' ')
is "$(cut -d ' ' -f 4 <<<"$files")" "$(cut -d ' ' -f 5 <<<"$files")" "nor opens more files than it serves with"
opener=$(pgrep -P "$process" -x rondo-log)
is "$(grep -c . <<<"$opener") $(sed -n 's/^Seccomp:\t//p' "/proc/$opener/status")" "1 2" "a process beside it, which opens the log anew, has its filter"
is "$(readlink "/proc/$opener/fd/"* | grep -cv '^/dev/null$\|/server.log$\|^socket:')" 0 "and holds nothing but a way to it"
kill -STOP "$process" && sleep 0.2 && kill -CONT "$process"
is "$(curl -s "${url}catalog.rondo")" "rondo-catalog 1" "being stopped and continued does not end it"
stop_process "$process"
is "$status" 0 "and it ends as asked"
ok "with the process beside it" wait_until 5 eval '! [ -e "/proc/$opener" ]'
done_testing
