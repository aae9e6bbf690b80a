#!/bin/bash
# time-limit: 900
# In the SVM lab, Debian's driver gets every frame that is sent to it through rondo-vmm's network card, bursts of small ones and large ones
# that take several buffers, and none of them torn.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/lab/lib.sh"
need_lab_svm
need cc

cc -O2 -static -o "$TMPDIR/frames" "$ROOT/tests/lab/frames.c" || bail_out "cc"
lab_guest_initrd "$TMPDIR/initrd" 'modprobe virtio_pci; modprobe virtio_net
cd /sys/class/net/eth0/statistics
echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
ip link set eth0 up
ip addr add 10.9.8.7/24 dev eth0
ping -c 1 -W 1 10.9.8.1 >/dev/null
tries=0
until [ "$(cat rx_packets)" -ge 1300 ] || [ $tries -ge 60 ]; do
	sleep 1
	tries=$((tries + 1))
done
echo "received $(cat rx_packets) frames, $(cat rx_bytes) bytes, $(cat rx_errors) $(cat rx_length_errors) $(cat rx_frame_errors) errors"
echo "sent $([ "$(cat tx_packets)" -gt 0 ] && echo some)"
poweroff -f'

cat >"$TMPDIR/script" <<'END'
#!/bin/sh
frames rondo-vmm --kernel /guest/kernel --initrd /guest/initrd --memory 256M --cpus 2 --cmdline "console=ttyS0 quiet panic=-1" \
	</dev/null >/results/guest 2>/results/errors
echo "exit $?"
END
lab_svm --program "$BUILD/rondo-vmm" --program "$TMPDIR/frames" --file "$lab_kernel:/guest/kernel" --file "$TMPDIR/initrd:/guest/initrd" \
	--cpus 2 --memory 1024 --results "$TMPDIR" "$TMPDIR/script"
like "$out" "exit 0" "a guest with a network card switches itself off"
like "$(cat "$TMPDIR/guest")" "received 1300 frames, 2760000 bytes, 0 0 0 errors" "it got all that was sent to it, and nothing torn"
like "$(cat "$TMPDIR/guest")" "sent some" "and could send"
is "$(cat "$TMPDIR/errors")" "" "rondo-vmm has nothing to complain of"
done_testing
