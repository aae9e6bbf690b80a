# shellcheck shell=bash
# Boots a built appliance in qemu, without Rondo: to test appliances themselves. Sourced after tests/lib.sh.
#
#   conf DIR KEY                       prints a value of DIR/appliance.conf
#   boot NAME DIR APPEND ARGUMENT…     starts the appliance in DIR on a copy of its disk, $TMPDIR/NAME.disk, with
#                                      APPEND on the kernel's command line and more arguments for qemu
#   console_has NAME REGEX             whether a line of the console, $TMPDIR/NAME.log, matches
#   enter TEXT                         types TEXT and Return into the machine booted last
#   ended                              whether that machine has ended
#   monitor NAME COMMAND               a command for qemu's monitor

conf() {
	sed -n "s/^$2 //p" "$1/appliance.conf"
}

boot() {
	local name=$1 dir=$2 append=$3
	shift 3
	[ -e "$TMPDIR/$name.disk" ] || cp --sparse=always "$dir/disk" "$TMPDIR/$name.disk"
	mkfifo "$TMPDIR/$name.in" "$TMPDIR/$name.out"
	start_process "$name.qemu" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 \
		-m "$(conf "$dir" memory)" -display none -no-reboot -monitor "unix:$TMPDIR/$name.monitor,server=on,wait=off" \
		-kernel "$dir/kernel" -initrd "$dir/initrd" -append "$(conf "$dir" cmdline) $append" \
		-drive "file=$TMPDIR/$name.disk,format=raw,if=virtio" \
		-chardev "pipe,id=console,path=$TMPDIR/$name" -serial chardev:console "$@"
	qemu=$process
	cat "$TMPDIR/$name.out" >"$TMPDIR/$name.log" &
	exec {console}>"$TMPDIR/$name.in"
}

console_has() {
	grep -qaE -- "$2" "$TMPDIR/$1.log"
}

enter() {
	printf '%s\n' "$1" >&"$console"
}

ended() {
	! kill -0 "$qemu" 2>/dev/null
}

monitor() {
	perl -MIO::Socket::UNIX -e '
		my $socket = IO::Socket::UNIX->new($ARGV[0]) or die "no monitor: $!\n";
		print $socket "$ARGV[1]\n";
		$socket->flush;
		sleep 1;' "$TMPDIR/$1.monitor" "$2"
}
