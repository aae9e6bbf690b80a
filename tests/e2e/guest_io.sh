#!/bin/bash
# What a guest may ask of its disk: odd sizes, beyond the end, discard and write-zeroes of any range. Errors hit only what was wrong, the
# rest stays as it was, and what is discarded gives its space back to the host.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq python3
need_fuse
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 20
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"

data=$RONDO_HOME/instances/tiny/disk.data
allocated() { # KiB of the overlay's data file
	du -k "$data" | cut -f 1
}
hash_of() { # of the original disk, from MiB $1 on, $2 MiB
	dd if="$appliance_disk" bs=1M skip="$1" count="$2" status=none | sha256sum | cut -d ' ' -f 1
}

# The machine's first process is the initrd's shell: then nobody else uses the disk, and blkdiscard may. It is typed into.
guest_mode=rdinit=/bin/sh
script="for module in virtio_pci virtio_blk; do modprobe \$module; done
mount -t devtmpfs dev /dev
until [ -b /dev/vda ]; do sleep 0.1; done
piece() { dd if=/dev/vda iflag=direct bs=1M skip=\$1 count=\$2 2>/dev/null | sha256sum | cut -d ' ' -f 1; }
size=$(stat -c %s "$appliance_disk")
dd if=/dev/urandom of=/data bs=1M count=12 2>/dev/null
dd if=/data of=/dev/vda bs=1M seek=34 conv=notrunc,fsync 2>/dev/null
echo wanted \$(sha256sum </data | cut -d ' ' -f 1) written \$(piece 34 12); read line
blkdiscard -o $((34 << 20)) -l $((8 << 20)) /dev/vda; sync
echo discarded \$(piece 34 8)
echo kept \$(dd if=/data bs=1M skip=8 2>/dev/null | sha256sum | cut -d ' ' -f 1) \$(piece 42 4); read line
blkdiscard -o $(((34 << 20) + 100)) -l 512 /dev/vda 2>&1
blkdiscard -o \$size -l $((1 << 20)) /dev/vda 2>&1
blkdiscard -o 0 -l 18446744073709551104 /dev/vda 2>&1
blkdiscard -o $(((46 << 20) + 512)) -l 512 /dev/vda 2>&1; echo sector \$?; sync
echo sectors \$(dd if=/dev/vda iflag=direct bs=512 skip=\$((size / 512 - 1)) 2>/dev/null | wc -c) \$(dd if=/dev/vda iflag=direct bs=512 skip=\$((size / 512)) 2>/dev/null | wc -c)
dd if=/dev/zero of=/dev/vda oflag=direct bs=512 seek=\$((size / 512)) count=1 conv=notrunc 2>&1
echo others \$(piece 32 2) \$(piece 47 5)
printf x | dd of=/dev/vda bs=1 seek=$(((46 << 20) + 8191)) conv=notrunc,fsync 2>/dev/null
echo odd \$(dd if=/dev/vda iflag=direct bs=4096 skip=$(((46 << 8) + 1)) count=2 2>/dev/null | sha256sum); read line
mkdir /disk; mount -t ext4 /dev/vda /disk; dd if=/dev/urandom of=/disk/file bs=1M count=8 2>/dev/null; sync; echo file; read line
rm /disk/file; sync; fstrim /disk; echo trimmed \$?; umount /disk; read line; poweroff -f"
start_guest tiny "$url/tiny" "" --net none
guest_shows tiny '/ # ' >/dev/null || bail_out "the shell comes up"
tell_guest tiny 'cat >/script'
guest_shows tiny 'cat >/script' >/dev/null
sleep 1 # until cat reads: the shell's own line editor would take a part of what follows
tell_guest tiny "$script"$'\n\004'
tell_guest tiny '. /script'
ok "a machine writes" guest_shows tiny '^wanted [0-9a-f]+ written'
wanted=$(grep -aoE 'wanted [0-9a-f]+' "$TMPDIR/tiny.console" | cut -d ' ' -f 2)
ok "and reads what it has written" guest_shows tiny "written $wanted"
before=$(allocated)
ok "the overlay holds it ($before KiB)" [ "$before" -ge $((12 * 1024)) ]
tell_guest tiny
ok "it discards 8 MiB, which then read as zeros" guest_shows tiny "discarded $(head -c 8M /dev/zero | sha256sum | cut -d ' ' -f 1)"
ok "what lies beside is as before" guest_shows tiny 'kept ([0-9a-f]{64}) \1'
after=$(allocated)
ok "the host has its space again ($after KiB)" [ $((before - after)) -ge $((8 * 1024 - 64)) ]
tell_guest tiny
ok "odd requests" guest_shows tiny '^odd'
is "$(grep -ac 'BLKDISCARD failed: Invalid' "$TMPDIR/tiny.console")" 3 "discards of half a sector, behind the end, and of all that there could be, are refused"
ok "that of a sector is not" grep -qa "sector 0" "$TMPDIR/tiny.console"
ok "the last sector can be read, what lies behind it cannot" grep -qa "sectors 512 0" "$TMPDIR/tiny.console"
ok "the last sectors and those that were never written are as published" grep -qa "others $(hash_of 32 2) $(hash_of 47 5)" "$TMPDIR/tiny.console"
ok "one byte written in the middle of two blocks changes only that byte" grep -qa "odd $( (
	dd if="$appliance_disk" bs=1 skip=$(((46 << 20) + 4096)) count=4095 status=none
	printf x
	dd if="$appliance_disk" bs=4096 skip=$(((46 << 8) + 2)) count=1 status=none
) | sha256sum | cut -d ' ' -f 1)" "$TMPDIR/tiny.console"
before=$(allocated)
tell_guest tiny
ok "it writes a file" guest_shows tiny '^file'
middle=$(allocated)
ok "which takes space ($before KiB, then $middle)" [ $((middle - before)) -ge $((8 * 1024 - 64)) ]
tell_guest tiny
ok "removed and trimmed" guest_shows tiny 'trimmed 0'
after=$(allocated)
ok "it gives it back ($after KiB)" [ $((middle - after)) -ge $((8 * 1024 - 512)) ]
tell_guest tiny
end_guest tiny
is "$status" 0 "it ends well"
unlike "$(cat "$TMPDIR/tiny.said")" paused "and was never paused"
done_testing
