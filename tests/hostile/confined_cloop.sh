#!/bin/bash
# Whoever takes rondo-cloop over from the network finds little left: each thread has the filter, which executes nothing, loads no code and
# listens nowhere (tests/hostile/cloop.calls; tests/unit/test_confine.c proves that all else ends the process); it writes nothing outside
# its folders; and it still reads sources that are named or plugged in later, from the network and from folders, and takes its mount away.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3
need_fuse
golden=$ROOT/tests/hostile/cloop.calls

is "$(grep -E '^[a-z-]+ (open|listen|execve|execveat|clone3|fork|vfork|ptrace|kill|dup|dup2|mount|umount2|memfd_create|link|linkat|symlink|symlinkat|chmod|fchmod|chown|setrlimit|setuid|seccomp)[: ]' "$golden")" "" \
	"nothing that is allowed listens, executes, makes a process, mounts or changes rights"
is "$(grep -E '^[a-z-]+ (socket|socketpair|ioctl|fcntl|mmap|mprotect|prctl|clone|tgkill|prlimit64)[: ]' "$golden" | grep -vF '[')" "" "and what does several things is allowed for some"

make_disk "$TMPDIR/disk" 2
must_publish image 1 "$TMPDIR/disk"
manifest=$out
attack "$site"
mount_image "${url}image"
status_is 0 "it mounts"
is "$(compare "$TMPDIR/disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right 128" "and serves"
for process in $(grep -laF -- "$TMPDIR/mounted" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3); do
	case $(cat "/proc/$process/comm" 2>/dev/null) in rondo-cloop) cloop=$process ;; rondo-unmount) beside=$process ;; rondo-open) opener=$process ;; esac
done
of_threads() { # FIELD [PROCESS]: its values in all threads
	grep -hE "^($1):" "/proc/${2:-$cloop}/task/"*/status | cut -f 2 | sort -u
}
limit() { # NAME: soft and hard
	grep "^Max $1" "/proc/$cloop/limits" | tr -s ' ' | sed "s/^Max $1 //" | cut -d ' ' -f 1,2
}
is "$(of_threads Seccomp)" 2 "every thread has its filter"
is "$(of_threads NoNewPrivs)" 1 "and gets no new privileges"
if [ "$(id -u)" = 0 ]; then
	is "$(of_threads 'Cap(Prm|Eff|Bnd)')" 0000000000000000 "of root's capabilities none is left, for good"
	is "$(of_threads 'Cap(Prm|Eff|Bnd)' "$opener")" 0000000000000004 "nor of those of the process that opens objects, but to read"
else
	is "$(of_threads CapEff)" 0000000000000000 "it has no capability"
fi
is "$(limit 'core file size')" "0 0" "it leaves no dump"
is "$(limit 'data size')" "2147483648 2147483648" "it takes no memory without end"
is "$(limit 'file size')" "536870912 536870912" "nor makes files without end"
is "$(limit 'open files' | cut -d ' ' -f 1)" "$(limit 'open files' | cut -d ' ' -f 2)" "nor opens more of them than it serves with"
is "$(of_threads Seccomp "$opener")" 2 "which has a filter of its own"
for process in "$beside" "$opener"; do
	is "$(find "/proc/$process/fd" -mindepth 1 -printf '%f\n' | sort -n | tr '\n' ' ')" "0 1 2 3 " "$(cat "/proc/$process/comm") has a socket, and nothing of rondo-cloop's"
done
unmount_image
status_is 0 "it unmounts"
ok "all end" wait_until 5 eval '! [ -e "/proc/$cloop" ] && ! [ -e "/proc/$beside" ] && ! [ -e "/proc/$opener" ]'

# One for all machines: sources that it did not know when it gave up its rights.
cat >"$TMPDIR/talk.py" <<'P'
import ctypes, os, shutil, signal, sys
sys.path.insert(0, os.environ["ROOT"] + "/tests")
import cloop_client
manifest, other, url, folder, disk = sys.argv[1:]
process = cloop_client.start(log=sys.stderr)
shutil.copytree(os.environ["TMPDIR"] + "/site", folder)
for source in folder, url:
    client = cloop_client.Client()
    with open(client.open(manifest, source) + "/disk", "rb") as f, open(disk, "rb") as wanted:
        assert f.read() == wanted.read()
    assert client.counts()["chunks_fetched"] > 0
    client.close()
    os.rename(os.environ["RONDO_CACHE"], os.environ["RONDO_CACHE"] + source.partition("/")[0])
# Without the process that opens objects it reads nothing that is a user's, where the kernel has Landlock.
for child in open(f"/proc/{process.pid}/task/{process.pid}/children").read().split():
    if open(f"/proc/{child}/comm").read() == "rondo-open\n":
        os.kill(int(child), signal.SIGKILL)
try:
    client = cloop_client.Client()
    read = open(client.open(other, folder) + "/disk", "rb").read(65536)
except (OSError, cloop_client.Refused):
    read = b""
if ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1:  # landlock_create_ruleset: its version
    assert read == b"", "it reads a folder itself"
client.close()
shutil.rmtree(folder)
cloop_client.Client().ask("quit")
assert process.wait(10) == 0
assert not os.path.ismount(os.environ["RONDO_RUNTIME"] + "/mnt")
assert not os.path.exists(os.environ["RONDO_RUNTIME"] + "/cloop.sock")
P
forget
make_disk "$TMPDIR/other" 2 7
must_publish image 2 "$TMPDIR/other"
other=$out
ok "one that serves all machines reads a folder that came later, and the network; the process that opens objects alone may do that; asked to end, it leaves no mount and no socket" \
	python3 "$TMPDIR/talk.py" "$manifest" "$other" "$url" "$TMPDIR/stick" "$TMPDIR/disk"
done_testing
