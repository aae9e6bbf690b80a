#!/bin/bash
# appliances/rondo-generalize as process 1 over a root file system: once for each token, writable or not, and whatever
# cut it off before.
. "$(dirname "$0")/../lib.sh"
need busybox
need unshare
[ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null || skip_all "no mount namespace can be had"

root=$TMPDIR/root
mkdir -p "$root"/{bin,dev,sbin,proc,usr/sbin,etc/ssh,root,home,var/lib}
cp "$(command -v busybox)" "$root/bin"
: >"$root/dev/null"
chroot "$root" /bin/busybox --install -s /bin || skip_all "busybox is not a static program"
cp "$ROOT/appliances/rondo-generalize" "$root/usr/sbin"
printf '#!/bin/sh\necho "init $*"\n' >"$root/sbin/init"
chmod +x "$root/sbin/init"
dirty() {
	echo secret >"$root/etc/ssh/ssh_host_rsa_key"
	echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
	echo history >"$root/root/.ash_history"
}
boot() { # MODE WORD…: what the machine says. Its root is a file system of its own, which it may remount
	local mode=$1
	shift
	echo "$*" >"$TMPDIR/cmdline"
	mkdir -p "$TMPDIR/mounted"
	out=$(unshare -m sh -c '
		mount -t tmpfs none "$1" && cp -a "$2/." "$1" && mount --bind /dev/null "$1/dev/null" && mount -o "remount,$4" "$1" || exit
		unshare -p -f sh -c "mount -t proc proc \"\$1/proc\" && mount --bind \"\$2\" \"\$1/proc/cmdline\" &&
			exec chroot \"\$1\" /usr/sbin/rondo-generalize single" sh "$1" "$3"
		umount "$1/proc/cmdline" "$1/proc" "$1/dev/null"
		rm -rf "$2" && cp -a "$1" "$2"' \
		sh "$TMPDIR/mounted" "$root" "$TMPDIR/cmdline" "$mode" 2>&1)
}
is_clean() {
	[ ! -e "$root/etc/ssh/ssh_host_rsa_key" ] && [ ! -s "$root/etc/machine-id" ] && [ ! -e "$root/root/.ash_history" ]
}

for mode in rw ro; do
	dirty
	boot "$mode" "quiet rondo.generalize=token-$mode init=/usr/sbin/rondo-generalize"
	is "$out" $'rondo-generalize: this machine has made itself anew\ninit single' "a new token, over a root that is $mode"
	ok "nothing of another machine is left" is_clean
	is "$(cat "$root/var/lib/rondo/generalized")" "token-$mode" "and the token is noted"
	dirty
	boot "$mode" "rondo.generalize=token-$mode"
	is "$out" "init single" "the same token: init alone"
	not_ok "and the machine stays itself" is_clean
done
boot rw "quiet"
is "$out" "init single" "no token: init alone"
echo token-x >"$root/var/lib/rondo/generalized.new" # cut off before the token was in its place
boot rw "rondo.generalize=token-x"
is "$out" $'rondo-generalize: this machine has made itself anew\ninit single' "what was cut off is done again"
ok "wholly" is_clean
done_testing
