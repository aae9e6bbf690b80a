#!/bin/bash
# time-limit: 600
# On a real KVM a machine has its volumes, a disk that is larger than its image's, and first-boot settings; a volume that is full holds its
# writes until there is space.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/lab/lib.sh"
. "$ROOT/tests/lab/product_lib.sh"
long_test "two more boots in the lab take a minute"
need_product
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"

lab_product --time-limit 500 <<'END'
cat >/tmp/user-data <<'SCRIPT'
#!/bin/sh
echo "script on $(hostname): $(df -m / | sed -n 2p)"
for d in b c; do echo "vd$d $(cat /sys/block/vd$d/serial) $(cat /sys/block/vd$d/size) $(cat /sys/block/vd$d/ro)"; done
dd if=/dev/urandom of=/dev/shm/data bs=1M count=6 2>/dev/null
dd if=/dev/shm/data of=/dev/vdb bs=1M conv=notrunc,fsync && cmp /dev/shm/data /dev/vdb 2>&1 | grep -v EOF || echo written right
sync
poweroff
SCRIPT
mkdir /tmp/small
mount -t tmpfs -o size=3m tmpfs /tmp/small
begin one tiny --net none --memory 128M --disk-size 100M --volume '/tmp/small/my data.img:64M' --user-data /tmp/user-data --hostname box
check "its script runs, under its hostname, on a disk of 100 MiB" shows one '^script on box: /dev/vda +9[0-9] '
check "the volume is vdb" shows one '^vdb my_data.img 131072 0'
check "the settings are read-only" shows one '^vdc rondo-seed [0-9]+ 1'
check "the full volume pauses it" wait_until 60 grep -q 'one is paused: no space .*/tmp/small/my data.img' /tmp/one.said
mount -o remount,size=20m /tmp/small
check "there is space, and it goes on" wait_until 20 grep -q 'one goes on' /tmp/one.said
check "it has lost nothing" shows one '^written right'
check "it ends well" ended one 0
begin two tiny --net none --volume '/tmp/small/my data.img' --append "rondo.run=$(base64_of 'hostname; poweroff')"
check "another machine has the volume, and no settings" shows two '^tiny'
check "and ends well" ended two 0
END
done_testing
