#!/bin/bash
# The Debian appliance boots to a login, has a network, fills a larger disk, and gives each clone its own identity.
# time-limit: 900
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/qemu.sh"

PATH=$PATH:/usr/sbin:/sbin
need qemu-system-x86_64 debugfs perl
run "$ROOT/tests/images.sh" debian
case $status in
0) image=$out ;;
4 | 9) skip_all "${err##*error: }" ;;
*)
	diag_file "$TMPDIR/run.err"
	bail_out "the image is built"
	;;
esac

like "$(conf "$image" version)" '^12\.[0-9]+\.20[0-9]{6}$' "the version is Debian's, and a date"
ok "the initrd is under 256 KiB" test "$(stat -c %s "$image/initrd")" -lt $((256 << 10))
is "$(stat -c %s "$image/disk")" $((2 << 30)) "the disk has 2 GiB"
ok "of which under 640 MiB are used" test "$(($(stat -c '%b * %B' "$image/disk")))" -lt $((640 << 20))
ok "its file system is clean" e2fsck -fn "$image/disk"

in_image() {
	debugfs -R "$1" "$image/disk" 2>/dev/null
}
is "$(in_image 'cat /etc/machine-id')" "" "no machine-id is shipped"
is "$(in_image 'ls -p /var/lib/systemd' | grep -c random-seed)" 0 "no random seed"
is "$(in_image 'ls -p /etc' | grep -c '/ssh/')" 0 "no ssh server"
is "$(in_image 'ls -p /etc/apt/apt.conf.d' | grep -ciE 'proxy|mmdebstrap')" 0 "no settings of the building host's apt"

cp --sparse=always "$image/disk" "$TMPDIR/debian.disk"
truncate -s 3G "$TMPDIR/debian.disk"
boot debian "$image" "" -nic user,model=virtio-net-pci
ok "it reaches its login prompt" wait_until 180 console_has debian "$(conf "$image" ready)"
enter root
ok "root logs in without a password" wait_until 60 console_has debian 'root@debian:~# '
enter 'systemctl is-system-running --wait | sed s/^/state-/'
ok "every unit has started" wait_until 120 console_has debian 'state-running'
enter 'grep -E "^/dev/vda / ext4 rw" /proc/mounts | sed s/^/mount-/'
ok "its root is /dev/vda, writable" wait_until 60 console_has debian 'mount-/dev/vda'
enter 'df --output=size -BM / | tail -n 1 | sed "s/^ */size-/"'
ok "its file system has grown with the disk" wait_until 60 console_has debian 'size-(2[89]|30)[0-9][0-9]M'
enter 'until ip -4 route show default | sed s/^/route-/ | grep default; do sleep 0.2; done'
ok "the network comes up by DHCP" wait_until 60 console_has debian 'route-default'
enter 'sed s/^/machine-/ /etc/machine-id'
ok "it has made itself a machine-id" wait_until 60 console_has debian 'machine-[0-9a-f]{32}'
ok "its power button is pressed" monitor debian system_powerdown
ok "and ends it" wait_until 90 ended
ok "leaving a clean file system" e2fsck -fn "$TMPDIR/debian.disk"
done_testing
