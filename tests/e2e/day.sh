#!/bin/bash
# time-limit: 3000
# A day with a machine: install something, keep it, break it, go back, commit it as the next version, run that elsewhere, and offline,
# three times at once. With RONDO_TEST_LONG, Debian has such a day, too.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq python3 strace zstd
need_fuse
guest_mode=rw

# Another user's place, as it were: nothing there is known of what happens here.
place=$TMPDIR/there
elsewhere() {
	RONDO_HOME=$place/home RONDO_CACHE=$place/cache RONDO_RUNTIME=$place/runtime "$@"
}
served() { # bytes, of answers
	awk '{ sum += $6 } END { print sum + 0 }' "$access"
}
# The blocks of 4096 bytes in which a disk differs from an older one, each once, in pieces as large as chunks.
changed_blocks() { # FROM TO
	rm -rf "$TMPDIR/changed"
	mkdir "$TMPDIR/changed"
	mkdir -p "$TMPDIR/from" "$TMPDIR/to"
	rondo mount "$1" "$TMPDIR/from" 2>/dev/null && rondo mount "$2" "$TMPDIR/to" 2>/dev/null || return
	python3 -c '
import sys
seen, number, piece = set(), 0, b""
def put():
    global number, piece
    if piece:
        open(f"{sys.argv[3]}/{number:06}", "wb").write(piece)
    number, piece = number + 1, b""
with open(sys.argv[1], "rb") as a, open(sys.argv[2], "rb") as b:
    while new := b.read(1 << 20):
        old = a.read(1 << 20)
        for i in range(0, len(new), 4096) if old != new else ():
            block = new[i:i + 4096]
            if block != old[i:i + 4096] and block not in seen:
                seen.add(block)
                piece += block
                if len(piece) == 131072:
                    put()
put()' "$TMPDIR/from/disk" "$TMPDIR/to/disk" "$TMPDIR/changed"
	rondo umount "$TMPDIR/from"
	rondo umount "$TMPDIR/to"
}
no_cloop() {
	[ -z "$(cloop_pid)" ]
}

# The machine is named $name, like its image. Each guest_… leaves what the console showed in $out, and ends with the machine.
first_half() { # NEXT: from installing to committing
	run_rondo snapshot "$name" installed
	status_is 0 "$name: it is kept as a snapshot"
	guest_breaks
	run_rondo rollback "$name" installed
	status_is 0 "$name: it is rolled back"
	guest_tries
	like "$out" 'hello from the package' "$name: what was installed is there again"
	run_rondo commit "$name" --name "$name" --version "$1" --key "$TMPDIR/key" --to "$TMPDIR/site"
	status_is 0 "$name: it is committed as the next version, and published"
	like "$out" '^[0-9a-f]{64}$' "$name: whose manifest is named"
	is "$(rondo ls "$TMPDIR/site" --json | jq -r --arg n "$name" '[.[] | select(.name == $n) | .version] | sort | join(" ")')" \
		"1 $1" "$name: the site has both versions"
}
second_half() { # NEXT
	local change before bytes n started=()
	changed_blocks "$TMPDIR/site/$name:1" "$TMPDIR/site/$name:$1"
	change=$(zstd -q -9 -c "$TMPDIR/changed"/* | wc -c)
	diag "$name: $(($(cat "$TMPDIR/changed"/* | wc -c) / 4096)) different blocks changed: $change bytes, compressed"
	place=$TMPDIR/over.$name
	mkdir "$place"
	cp -a --sparse=always "$TMPDIR/there/home" "$TMPDIR/there/cache" "$place"
	before=$(served)
	run elsewhere rondo run "$url/$name:$1" --net none --ephemeral --until "login:" --timeout 300
	status_is 0 "$name: elsewhere, where the first version is, the next one runs"
	bytes=$(($(served) - before))
	diag "$name: $bytes bytes were fetched to run it"
	ok "$name: at most 1.2 times the compressed change was fetched" test $((bytes * 10)) -le $((change * 12))
	place=$TMPDIR/there
	before=$(served)
	run elsewhere rondo pull "$url/$name:$1"
	status_is 0 "$name: elsewhere again it is pulled"
	bytes=$(($(served) - before))
	diag "$name: $bytes bytes were fetched to have it"
	ok "$name: at most 1.2 times the compressed change was fetched" test $((bytes * 10)) -le $((change * 12))
	ok "$name: and at least half of it" test $((bytes * 2)) -ge "$change"

	stop_process "$server"
	kill $(cloop_pid) # so that their successor is traced from its beginning
	wait_until 20 no_cloop
	for n in a b c; do
		elsewhere strace -f -qq --seccomp-bpf -e trace=connect -o "$TMPDIR/connects.$n" rondo run "$url/$name:$1" --name "$n" --offline \
			--net none --timeout 900 --append "$guest_mode $(guest_command hello)" >"$TMPDIR/$n.console" 2>"$TMPDIR/$n.said" &
		started[${#started[@]}]=$!
	done
	for n in a b c; do
		wait_until 600 grep -qa "$offline_shows" "$TMPDIR/$n.console" || diag_file "$TMPDIR/$n.console"
	done
	is "$(elsewhere rondo ps --json | jq -c 'map([.name, .state])')" '[["a","running"],["b","running"],["c","running"]]' \
		"$name: without a server three of it run at once"
	elsewhere rondo stop a --timeout 60 2>/dev/null &
	elsewhere rondo stop b --timeout 60 2>/dev/null &
	elsewhere rondo stop c --timeout 60 2>/dev/null
	for n in "${started[@]}"; do
		wait "$n"
		is "$?" 0 "$name: and end when they are told to"
	done
	cat "$TMPDIR"/connects.? >"$TMPDIR/connects"
	ok "$name: connections were traced" grep -q AF_UNIX "$TMPDIR/connects"
	not_ok "$name: and nothing tried to connect to a network" grep AF_INET "$TMPDIR/connects"
	for n in a b c; do
		elsewhere rondo rm "$n"
	done
}

# --- Tiny: commands on the kernel's command line --------------------------------------------------------------------

tiny_runs() { # COMMAND
	run_rondo run "$url/tiny:1" --name tiny --net none --timeout 150 --append "$guest_mode $(guest_command "$1; sync; poweroff")"
	out=$(tr -d '\r' <<<"$out")
}
guest_breaks() {
	tiny_runs 'rm /bin/hello /usr/hello; hello || echo it is broken'
	like "$out" 'it is broken' "tiny: it is broken"
}
guest_tries() {
	tiny_runs 'hello; cksum /usr/hello'
}
name=tiny
offline_shows='^hello from the package'
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
run elsewhere rondo pull "$url/tiny:1"
status_is 0 "tiny: elsewhere has the first version"
tiny_runs "printf '#!/bin/sh\necho hello from the package\n' >/bin/hello; chmod 755 /bin/hello; head -c 800000 /dev/urandom >/usr/hello; hello"
like "$out" 'hello from the package' "tiny: a program is installed, and works"
first_half 2
second_half 2
[ -n "${RONDO_TEST_LONG:-}" ] || done_testing

# --- Debian: commands typed at its prompt ---------------------------------------------------------------------------

debian_types() { # MACHINE IMAGE COMMAND: its output is in $out, which also has the line as it was typed
	start_guest "$1" "$2" true --net none
	guest_shows "$1" 'debian login:' 400 && tell_guest "$1" root
	guest_shows "$1" 'root@debian' 200 && tell_guest "$1" "$3; poweroff"
	end_guest "$1" 300
	out=$(tr -d '\r\0' <"$TMPDIR/$1.console")
}
guest_breaks() {
	debian_types debian "$url/debian:1" 'rm -rf /usr/bin/hello /etc/systemd /etc/pam.d; hello || echo broken in $((1 + 1)) ways'
	like "$out" 'broken in 2 ways' "debian: it is broken"
}
guest_tries() {
	debian_types debian "$url/debian:1" hello
}
name=debian
offline_shows='debian login:'
publish_appliance debian "$TMPDIR/site"
serve_site "$TMPDIR/site"
run elsewhere rondo pull "$url/debian:1"
status_is 0 "debian: elsewhere has the first version"
debian_types debian "$url/debian:1" "cd /run; mkdir -p p/DEBIAN p/usr/bin; head -c 1500000 /dev/urandom >p/usr/random
printf 'Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: none <none@example.org>\nDescription: says hello\n' >p/DEBIAN/control
printf '%s\n' '#!/bin/sh' 'echo hello \"from\" the package' >p/usr/bin/hello; chmod 755 p/usr/bin/hello
dpkg-deb -b p hello.deb && dpkg -i hello.deb; hello"
like "$out" 'hello from the package' "debian: a package is installed, and works"
first_half 12.6
like "$err" 'warning: +machine-id: /etc/machine-id' "debian: with a warning of its machine-id"
second_half 12.6

run_rondo commit debian --name debian --version 12.7 --generalize --key "$TMPDIR/key" --to "$TMPDIR/site"
status_is 0 "debian: it is committed with --generalize"
for n in x y; do
	debian_types $n "$TMPDIR/site/debian:12.7" 'sed s/^/machine-/ /etc/machine-id; systemctl is-system-running --wait | sed s/^/state-/'
	like "$out" 'rondo-generalize: this machine has made itself anew' "debian: machine $n makes itself anew"
	like "$out" 'state-running' "debian: and comes up"
	grep -aoE 'machine-[0-9a-f]{32}' <<<"$out" >>"$TMPDIR/ids"
done
is "$(sort -u "$TMPDIR/ids" | wc -l)" 2 "debian: each has a machine-id of its own"
done_testing
