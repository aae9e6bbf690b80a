# shellcheck shell=bash
# Users of their own, for scripts that need more than one: sourced behind lib.sh. Root alone can be others.
#
#   need_users               skips the whole file where we cannot be another user who may mount; first of all. There is a user "nobody" then
#   make_user NAME UID       a home, $TMPDIR/NAME, with Rondo's programs in bin/ (whoever builds may not let others in); sets $user to it.
#                            Who has no name in /etc/passwd may not mount (fusermount3)
#   as_user NAME COMMAND…    as that user, in the home, with no more of our environment than anybody who logs in has of ours. In a mount
#                            namespace of its own, with a /dev/fuse that everybody may open, as systems have it, and in one of processes,
#                            so that none stays behind when the command ends

user=''

need_users() {
	need setpriv unshare mknod
	[ "$(id -u)" = 0 ] || skip_all "not root, so that there is no other user"
	chmod 711 "$TMPDIR"
	mknod "$TMPDIR/fuse" c 10 229 && chmod 666 "$TMPDIR/fuse" || skip_all "no device node can be made"
	make_user nobody 65534
	as_user nobody test -w /dev/fuse -a -x "$user/bin/rondo" 2>/dev/null ||
		skip_all "no mount namespace can be made in which another user opens /dev/fuse"
}

make_user() {
	user=$TMPDIR/$1
	mkdir -p "$user/bin"
	mkdir -m 700 "$user/run"
	cp "$BUILD"/rondo "$BUILD"/rondo-* "$user/bin/"
	chmod 755 "$user/bin" "$user/bin"/*
	chown "$2:$2" "$user" "$user/run"
}

as_user() {
	local home=$TMPDIR/$1 id
	shift
	id=$(stat -c %u "$home")
	# shellcheck disable=SC2016 # for that shell
	env -C "$home" -u RONDO_HOME -u RONDO_CACHE -u RONDO_RUNTIME -u XDG_CONFIG_HOME \
		HOME="$home" PATH="$home/bin:$PATH" XDG_RUNTIME_DIR="$home/run" \
		unshare -m -p -f --mount-proc --kill-child bash -c 'mount --bind "$0" /dev/fuse && exec setpriv --reuid "$1" --regid "$1" --clear-groups -- "${@:2}"' \
		"$TMPDIR/fuse" "$id" "$@"
}
