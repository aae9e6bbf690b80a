# shellcheck shell=bash
# What recipes share. Sourced by appliances/build and by every recipe; bash.
#
# A recipe gets $NAME, $WORK (scratch) and $OUT (where its four files go) from appliances/build. All functions
# report on stderr and end the build on failure. Images are reproducible as far as that is cheap: recipes set
# SOURCE_DATE_EPOCH to the newest date among the packages used, and every date, identifier and order follows from it.

PATH=$PATH:/usr/sbin:/sbin

say() {
	printf 'build: %s: %s\n' "${NAME:-appliance}" "$*" >&2
}

die() {
	say "error: $*"
	exit 1
}

die_host() {
	say "error: $*"
	exit 9
}

# need TOOL PACKAGE [TOOL PACKAGE]…: ends the build, with the line to type, if a program is missing on this host.
need() {
	local missing=() tools=()
	while [ $# -ge 2 ]; do
		if ! command -v "$1" >/dev/null; then
			tools+=("$1")
			missing+=("$2")
		fi
		shift 2
	done
	[ ${#missing[@]} -eq 0 ] ||
		die_host "this host has no ${tools[*]}; type: apt-get install" \
			"$(printf '%s\n' "${missing[@]}" | sort -u | paste -s -d ' ')"
}

# fetch_packages DIR PACKAGE…: downloads Debian packages with this host's own apt sources, installing nothing.
fetch_packages() {
	local dir=$1
	shift
	mkdir -p "$dir"
	say "fetching $*"
	# apt's unprivileged download user can neither write here nor exist in a user namespace.
	if ! (cd "$dir" && apt-get -q -o APT::Sandbox::User=root download "$@" >&2); then
		say "error: cannot fetch $*; type: apt-get update"
		exit 4
	fi
}

# newest_date DIR: the newest modification time of a file below DIR, in seconds since 1970.
newest_date() {
	find "$1" -type f -printf '%T@\n' | sort -n | sed -n '$s/\..*//p'
}

# list_modules ROOT VERSION MODULE: the files of a kernel module and of what it depends on, those first. A module that is
# built into the kernel has none.
list_modules() {
	modprobe -d "$1" -S "$2" --show-depends "$3" >"$WORK/$3.depends" || die "the kernel package has no module $3"
	# One line a module: "insmod FILE" or "builtin NAME".
	sed -n 's/^insmod \([^ ]*\).*/\1/p' "$WORK/$3.depends"
}

# copy_modules ROOT VERSION DEST MODULE…: copies kernel modules and what they depend on from ROOT/lib/modules/VERSION
# to DEST, with indexes for modprobe. A module that is built into the kernel needs no copy.
copy_modules() {
	local root=$1 version=$2 dest=$3 module file
	shift 3
	[ -f "$root/lib/modules/$version/modules.dep" ] || depmod -b "$root" "$version"
	mkdir -p "$dest/lib/modules/$version"
	for module in "$@"; do
		list_modules "$root" "$version" "$module"
	done >"$WORK/modules"
	sort -u "$WORK/modules" | while read -r file; do
		install -D -m 644 "$file" "$dest/${file#"$root"}"
	done
	cp "$root/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$dest/lib/modules/$version"
	depmod -b "$dest" "$version"
	rm "$dest/lib/modules/$version/modules.builtin.modinfo"
}

# install_busybox BINARY DEST: /bin/busybox and a link for each of its programs, sbin included in bin.
install_busybox() {
	local applet
	install -D -m 755 "$1" "$2/bin/busybox"
	for applet in $("$1" --list); do
		[ "$applet" = busybox ] || ln -s busybox "$2/bin/$applet"
	done
	ln -s bin "$2/sbin"
}

# clamp_dates TREE: no file is newer than SOURCE_DATE_EPOCH.
clamp_dates() {
	find "$1" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# make_initrd TREE FILE
make_initrd() {
	say "packing initrd"
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	(cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --reproducible --quiet) |
		zstd -q -19 -o "$2"
}

# make_disk TREE FILE SIZE UUID LABEL: an ext4 file system on a whole sparse disk, without a partition table.
#
# Blocks have 4 KiB, like Rondo's, and every inode table is complete, so that a first boot has nothing left to write
# in the background. Two things need debugfs afterwards: the journal gets the features that Linux would otherwise
# give it at the first mount (then a read-only mount leaves the disk as published, to the bit), and no inode keeps the
# time of this build, which mke2fs took from the change and access times of the file.
make_disk() {
	local tree=$1 file=$2 size=$3 uuid=$4 label=$5
	say "writing a file system of $size"
	clamp_dates "$tree"
	export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
	mke2fs -q -t ext4 -b 4096 -m 1 -L "$label" -U "$uuid" \
		-E "hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" -d "$tree" "$file" "$size" >&2
	(
		printf 'journal_open -c -v 3\njournal_close\n'
		cd "$tree" && find . -mindepth 1 -printf "set_inode_field \"/%P\" ctime @$SOURCE_DATE_EPOCH\n" \
			-printf "set_inode_field \"/%P\" atime @$SOURCE_DATE_EPOCH\n"
	) >"$WORK/debugfs.commands"
	debugfs -w -f "$WORK/debugfs.commands" "$file" >"$WORK/debugfs.log" 2>&1
	# debugfs repeats each command; anything else, except for two greetings, is an error.
	! grep -v -e '^debugfs' -e '^Setting csum v3$' "$WORK/debugfs.log" >&2 || die "debugfs failed on $file"
	e2fsck -fn "$file" >"$WORK/e2fsck.log" 2>&1 || die "the new file system has errors: $(tail -n 3 "$WORK/e2fsck.log")"
	fallocate --dig-holes "$file"
}

# put_conf KEY VALUE…: one line of appliance.conf.
put_conf() {
	printf '%s %s\n' "$1" "${*:2}" >>"$OUT/appliance.conf"
}
