#!/bin/bash
# time-limit: 600
# The SVM lab works: KVM runs a guest there, and exit codes, output, files, disks and the host's network come through.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/lab/lib.sh"
need_lab_svm
need cc

ok "a guest of a few bytes compiles" cc -std=c17 -D_GNU_SOURCE -O2 -o "$TMPDIR/kvm_check" "$ROOT/tests/lab/kvm_check.c"
mkdir "$TMPDIR/tree"
echo "from a disk" >"$TMPDIR/tree/note"
lab_disk_of "$TMPDIR/tree" "$TMPDIR/disk" 8
echo "from a file" >"$TMPDIR/file"
port=$(free_port)
mkdir "$TMPDIR/site"
echo "from the host" >"$TMPDIR/site/note"
start_process web python3 -m http.server --bind 127.0.0.1 --directory "$TMPDIR/site" "$port"
wait_for_port "$port" || bail_out "the web server does not answer"

cat >"$TMPDIR/script" <<'END'
#!/bin/sh
count_exits start
kvm_check 42
code=$?
count_exits show >/results/exits
cat /folder/file
mount -o ro /dev/disk0 /mnt && cat /mnt/note
wget -q -O - "http://10.0.2.2:$1/note"
nproc
echo "to standard error" >&2
echo "$2" >/results/argument
exit $code
END
lab_svm --program "$TMPDIR/kvm_check" --file "$TMPDIR/file:/folder/file" --disk "$TMPDIR/disk" --network --memory 512 --cpus 2 \
	--results "$TMPDIR/results" --time-limit 200 "$TMPDIR/script" "$port" "it's one argument"
status_is 42 "a guest ran, and the script's exit code comes back"
is "$out" "API version 12
from a file
from a disk
from the host
2
to standard error" "so does its output, in which files, disks and the host's network are seen"
is "$(cat "$TMPDIR/results/argument")" "it's one argument" "arguments go in, results come back"
like "$(cat "$TMPDIR/results/exits")" "user 2"$'\n'"(.*"$'\n'")?user-exit 2 1" "exits are counted: one for a port"

lab_svm --memory 512 --time-limit 200 <(echo) "$TMPDIR/kvm_check"
status_is 2 "what is no file cannot be run"
printf '#!/bin/sh\necho b >/proc/sysrq-trigger\nsleep 60\n' >"$TMPDIR/script"
lab_svm --memory 512 --time-limit 200 "$TMPDIR/script"
status_is 125 "a machine that ends before its script does is told apart"
like "$err" "ended before its script" "and said"
printf '#!/bin/sh\necho begun\nsleep 600\n' >"$TMPDIR/script"
lab_svm --memory 512 --time-limit 5 "$TMPDIR/script"
status_is 124 "a time limit holds"
is "$(find "$TMPDIR" -maxdepth 1 -name 'rondo-lab.*')" "" "nothing is left behind"
done_testing
