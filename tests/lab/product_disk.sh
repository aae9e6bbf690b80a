#!/bin/bash
# time-limit: 3600
# On a real KVM a guest writes 1 GiB and reads it back, and reads what was published, while rondo-cloop is killed and the server goes away
# and comes back, again and again: no error, no wrong byte. What was flushed is there after rondo-vmm was killed, in the midst of writing.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/lab/lib.sh"
. "$ROOT/tests/lab/product_lib.sh"
long_test "writing 1 GiB in the lab takes minutes"
need_product
published=48 # MiB of random bytes behind Tiny's file system of 32
pieces=64    # of 16 MiB, which the guest writes behind those
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" "$published"
publish_appliance tiny "$TMPDIR/site"
serve_switchable "$TMPDIR/site"
mkdir "$TMPDIR/empty"
lab_disk_of "$TMPDIR/empty" "$TMPDIR/scratch" 3000 # where the lab keeps what Rondo keeps

# Direct reads, so that they reach the disk each time. And sync alone flushes no disk whose file system is read-only: fsync does.
reading="while :; do echo published \$(dd if=/dev/vda iflag=direct bs=1M skip=32 count=$published 2>/run/e | sha256sum) \$(grep -c error /run/e); sleep 2; done &
at=$((32 + published)) i=0"
writing="$reading
while [ \$i -lt $pieces ]; do
dd if=/dev/urandom of=/run/p bs=1M count=16 2>/dev/null
echo piece \$i \$(sha256sum </run/p)
dd if=/run/p of=/dev/vda bs=1M seek=\$((at + 16 * i)) conv=notrunc 2>/dev/null || echo failed
i=\$((i + 1)); done
dd if=/dev/null of=/dev/vda conv=notrunc,fsync 2>/run/f && echo flushed
while :; do dd if=/dev/urandom of=/dev/vda bs=64k seek=\$(((at + 16 * i) * 16)) count=256 conv=notrunc,fsync 2>/dev/null; done"
checking="$reading
while [ \$i -lt $pieces ]; do
echo piece \$i \$(dd if=/dev/vda iflag=direct bs=1M skip=\$((at + 16 * i)) count=16 2>/dev/null | sha256sum)
i=\$((i + 1)); done
echo checked; read line; poweroff"
wanted=$(tail -c $((published << 20)) "$appliance_disk" | sha256sum | cut -d ' ' -f 1)

lab_product --time-limit 3500 --disk "$TMPDIR/scratch" <<END
mount /dev/disk0 /mnt && mkdir /mnt/lib /mnt/cache && mount --bind /mnt/lib /var/lib && mount --bind /mnt/cache /var/cache
kills=0 outages=0
disturb_until() { # REGEX: the console shows it; the machine runs all the time
	while ! has_shown tiny "\$1" 1; do
		[ ! -s /tmp/tiny.code ] || return 1
		sleep 8
		echo 3 >/proc/sys/vm/drop_caches # else the lab's kernel would have it
		process=\$(process_of rondo-cloop)
		[ -z "\$process" ] || { kill -KILL \$process && kills=\$((kills + 1)); }
		sleep 8
		wget -q -O /dev/null "\$switch/down"
		sleep 4
		wget -q -O /dev/null "\$switch/up"
		outages=\$((outages + 1))
	done
}
start() { # BASE64
	begin tiny tiny --net none --cpus 2 --memory 256M --disk-size $((32 + published + 16 * pieces + 16))M --append "ro rondo.run=\$1"
}
check "a machine with a disk to write on starts" start $(printf '%s' "$writing" | base64 -w 0)
check "it writes" shows tiny '^piece 0 '
check "it writes $((pieces * 16)) MiB under disturbance" disturb_until '^flushed'
check "no write failed" eval '! grep -a "^failed" /tmp/tiny.console'
sleep 5 # it goes on writing
check "rondo-vmm is killed" kill -KILL \$(process_of rondo-vmm)
check "rondo run ends with exit code 1" ended tiny 1
check "which is said" grep 'signal 9' /tmp/tiny.said
grep -a '^piece' /tmp/tiny.console | tr -d '\r' | sort >/tmp/written
grep -a '^published' /tmp/tiny.console >/tmp/published
check "it starts again" start $(printf '%s' "$checking" | base64 -w 0)
check "it reads" shows tiny '^piece 0 '
check "it reads all of it under disturbance" disturb_until '^checked'
grep -a '^piece' /tmp/tiny.console | tr -d '\r' | sort >/tmp/read
grep -a '^published' /tmp/tiny.console >>/tmp/published
check "all pieces were written" eval '[ "\$(wc -l </tmp/written)" -eq $pieces ]'
check "and are read as they were written" cmp /tmp/written /tmp/read
check "what was published was read several times" eval '[ "\$(wc -l </tmp/published)" -ge 2 ]'
check "and always as it was published" eval '! tr -d "\r" </tmp/published | grep -v "^published $wanted - 0\$"'
check "rondo-cloop was killed and the server was away, often" eval '[ \$kills -ge 5 ] && [ \$outages -ge 5 ]'
echo "rondo-cloop was killed \$kills times, the server away \$outages times; published bytes read \$(wc -l </tmp/published) times"
type_in tiny
check "it ends with exit code 0" ended tiny 0
END
done_testing
