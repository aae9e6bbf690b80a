#!/bin/bash
# The appliance builder makes a complete, small and bootable "tiny", and leaves nothing when it fails.
# time-limit: 600
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/qemu.sh"

PATH=$PATH:/usr/sbin:/sbin
build=$ROOT/appliances/build

run "$build"
status_is 0 "without arguments it lists the recipes"
like "$out" '(^|
)tiny  *[A-Z].*' "tiny among them, with a summary"
run "$build" no-such-recipe "$TMPDIR/none"
status_is 2 "an unknown recipe is a usage error"
mkdir "$TMPDIR/precious"
echo keep >"$TMPDIR/precious/file"
run "$build" tiny "$TMPDIR/precious"
status_is 2 "a directory that is not an appliance is refused"
is "$(cat "$TMPDIR/precious/file")" keep "and left alone"

# Three recipes that do not end well: one breaks half way, one forgets a member, one needs what no host has.
cp -r "$ROOT/appliances" "$TMPDIR/appliances"
mkdir "$TMPDIR"/appliances/{broken,poor,demanding} "$TMPDIR/out"
printf 'echo x >"$OUT/disk"\nexit 3\n' >"$TMPDIR/appliances/broken/recipe"
printf 'echo x >"$OUT/disk"\n' >"$TMPDIR/appliances/poor/recipe"
printf '. "$APPLIANCES/lib.sh"\nneed no-tool-1 two no-tool-2 one bash bash no-tool-3 two\n' >"$TMPDIR/appliances/demanding/recipe"
run "$TMPDIR/appliances/build" broken "$TMPDIR/out/broken"
status_is 3 "a failing recipe fails the build"
run "$TMPDIR/appliances/build" poor "$TMPDIR/out/poor"
status_is 1 "so does an incomplete one"
like "$err" 'left no kernel' "which is told what is missing"
run "$TMPDIR/appliances/build" demanding "$TMPDIR/out/demanding"
status_is 9 "so does a host without the tools"
like "$err" 'apt-get install one two$' "which is told the line to type"
is "$(ls -A "$TMPDIR/out")" "" "and nothing is left"

run "$ROOT/tests/images.sh" tiny
case $status in
0) image=$out ;;
4 | 9)
	skip "tiny is built" "${err##*error: }"
	done_testing
	;;
*) diag_file "$TMPDIR/run.err"; bail_out "tiny is built" ;;
esac
is "$(cd "$image" && echo *)" "appliance.conf disk initrd kernel" "tiny has its members and nothing else"
for key in name version title summary os licence homepage cmdline memory ready; do
	like "$(conf "$image" "$key")" '^[^[:space:]].*$' "appliance.conf has $key"
done
is "$(conf "$image" ready)" "login:" "tiny is ready when it asks for a login"
ok "the initrd is under 2 MiB" test "$(stat -c %s "$image/initrd")" -lt $((2 << 20))
is "$(stat -c %s "$image/disk")" $((32 << 20)) "the disk has 32 MiB"
ok "of which under 11 MiB are used" test "$(($(stat -c '%b * %B' "$image/disk")))" -lt $((11 << 20))
ok "its file system is clean" e2fsck -fn "$image/disk"

run "$ROOT/tests/images.sh" tiny
is "$status $out" "0 $image" "a built image is used again"
unlike "$err" 'fetching' "without building it"

if ! command -v qemu-system-x86_64 >/dev/null; then
	skip "tiny boots" "the command qemu-system-x86_64 is missing"
	done_testing
fi

boot login "$image" "" -nic user,model=virtio-net-pci
ok "tiny reaches its login prompt" wait_until 120 console_has login "$(conf "$image" ready)"
enter root
ok "root logs in without a password" wait_until 30 console_has login 'tiny:~# '
enter 'grep "^/dev/vda / ext4 rw" /proc/mounts && echo moun""ted'
ok "its root is /dev/vda, writable" wait_until 30 console_has login '^mounted'
enter 'until ip route | grep default; do sleep 0.1; done; echo rou""ted'
ok "the network comes up by DHCP" wait_until 60 console_has login '^routed'
enter 'echo written >/root/file && sync && reboot'
ok "reboot resets the machine" wait_until 60 ended
like "$(debugfs -R 'cat /root/file' "$TMPDIR/login.disk" 2>/dev/null)" '^written' "what was written is on the disk"
e2fsck -p "$TMPDIR/login.disk" >"$TMPDIR/e2fsck.log" 2>&1
ok "whose file system is clean" e2fsck -fn "$TMPDIR/login.disk"

boot button "$image" "" -nic none
ok "it boots again" wait_until 120 console_has button "$(conf "$image" ready)"
ok "its power button is pressed" monitor button system_powerdown
ok "and ends it" wait_until 30 ended

command=$(printf 'sha256sum /dev/vda; poweroff' | base64 -w 0)
boot command "$image" "ro rondo.run=$command" -nic none
ok "a command runs at boot and can power the machine off" wait_until 120 ended
like "$(cat "$TMPDIR/command.log")" "$(sha256sum <"$image/disk" | cut -d ' ' -f 1)  /dev/vda" \
	"a read-only root leaves the disk as it was built"
done_testing
