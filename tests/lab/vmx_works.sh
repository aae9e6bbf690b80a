#!/bin/bash
# time-limit: 1500
# The VMX lab works: KVM runs a guest there with EPT, without it, and without unrestricted guests; results come back.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/lab/lib.sh"
[ -n "${RONDO_TEST_LONG:-}" ] || skip_all "an emulated VMX takes minutes; make test-long"
need_lab_vmx
need cc

ok "a guest of a few bytes compiles" cc -std=c17 -D_GNU_SOURCE -O2 -o "$TMPDIR/kvm_check" "$ROOT/tests/lab/kvm_check.c"
head -c 1000000 /dev/urandom >"$TMPDIR/disk"
cat >"$TMPDIR/script" <<'END'
#!/bin/sh
head -c 1000000 /dev/disk0 | sha256sum | cut -d ' ' -f 1
cat /sys/module/kvm_intel/parameters/ept /sys/module/kvm_intel/parameters/unrestricted_guest
echo "$1" >/results/argument
kvm_check 43
END
lab_vmx --program "$TMPDIR/kvm_check" --disk "$TMPDIR/disk" --results "$TMPDIR/results" --time-limit 450 "$TMPDIR/script" "an argument"
status_is 43 "a guest ran, and the script's exit code comes back"
is "$out" "$(sha256sum <"$TMPDIR/disk" | cut -d ' ' -f 1)
Y
Y
API version 12" "with EPT and unrestricted guests, and a disk that reads right"
is "$(cat "$TMPDIR/results/argument")" "an argument" "arguments go in, results come back"

lab_vmx --program "$TMPDIR/kvm_check" --disk "$TMPDIR/disk" --kvm ept=0 --time-limit 450 "$TMPDIR/script"
status_is 43 "without EPT, too"
like "$out" $'\nN\nN\n' "which is off"
lab_vmx --program "$TMPDIR/kvm_check" --disk "$TMPDIR/disk" --kvm unrestricted_guest=0 --time-limit 450 "$TMPDIR/script"
status_is 43 "and without unrestricted guests"
like "$out" $'\nY\nN\n' "which are off"
done_testing
