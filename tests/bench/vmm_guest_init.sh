#!/bin/sh
# The guest of bench/vmm_costs.py: reads its disk when it is told a line, or after a while where nobody can tell it.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
modprobe virtio_pci
modprobe virtio_blk
stat() { awk '{ print $1 }' /sys/block/vda/stat; }
before=$(stat)
echo "ready to read"
read -r -t 25 line
read_at_depth /dev/vda 32 8192 && echo "requests $(($(stat) - before))"
echo "at the end"
sleep 10000
