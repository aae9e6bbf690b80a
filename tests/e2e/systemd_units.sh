#!/bin/bash
# `make install` installs systemd's units of the server: systemd takes them as they are, they are walled in, and what they forbid the
# server never does.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need systemd-analyze make

prefix=$TMPDIR/prefix
ok "make install" make -s -C "$ROOT" BUILD="$BUILD" PREFIX="$prefix" install
units=$prefix/lib/systemd/system
names=$(cd "$units" && printf '%s ' *)
is "$names" "rondo-gc.service rondo-gc.timer rondo-server.service rondo-server.socket " "installs the units"
not_ok "no placeholder is left in them" grep -r @PREFIX@ "$units"
run systemd-analyze verify --man=no "$units"/*
is "$status $out$err" "0 " "systemd has nothing to say against them"
for name in rondo-server rondo-gc; do
	exposure=$(systemd-analyze security --no-pager --offline=yes "$units/$name.service" | grep -o 'exposure level for .*: [0-9.]*')
	ok "$name.service is exposed little (${exposure##* } of 10)" awk -v level="${exposure##* }" 'BEGIN { exit !(level != "" && level <= 1.5) }'
done
user=$(sed -n 's/^User=//p' "$units/rondo-server.service")
ok "their user is made" grep -q "^u $user " "$prefix/lib/sysusers.d/rondo-server.conf"

# The command of the unit, with folders of this test's, makes no call that the unit's filter forbids.
need strace curl
strace -o /dev/null true 2>/dev/null || skip_rest=1
if [ -z "${skip_rest:-}" ]; then
	make_disk "$TMPDIR/disk" 1
	must_publish image 1 "$TMPDIR/disk"
	command=$(sed -n 's/^ExecStart=//p' "$units/rondo-server.service")
	command=${command/\/var\/log\/rondo/$TMPDIR} command=${command//\/var\/lib\/rondo/$TMPDIR}
	# shellcheck disable=SC2086 # words on purpose
	start_process server strace -f -qq -o "$TMPDIR/trace" -I 4 ${command/rondo-server /rondo-server --listen 127.0.0.1:0 }
	wait_until 20 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "the unit's command starts"
	url=$(sed -n 's/^listening on //p' "$TMPDIR/server.log")
	server=$(pgrep -P "$process" -x rondo-server)
	curl -sS --max-time 20 -o "$TMPDIR/catalog" "${url}catalog.rondo"
	ok "the unit's command serves" cmp "$TMPDIR/catalog" "$site/catalog.rondo"
	like "$(curl -sS --max-time 20 "${url}api/v1/images")" '"name": ?"image"' "and answers questions"
	like "$(curl -sS --max-time 20 "${url}metrics")" $'\nrondo_catalog_images 1\n' "and those of who watches it: what the catalog has"
	is "$(curl -sS --max-time 20 "${url}healthz")" ok "it is well"
	kill -HUP "$server"
	wait_until 10 grep -q 'opened anew' "$TMPDIR/server.log"
	kill -TERM "$server"
	wait "$process"
	is $? 0 "and ends"
	systemd-analyze --no-pager syscall-filter 2>/dev/null | awk '/^@/ { group = $1 } /^ +[@a-z]/ { print group, $1 }' >"$TMPDIR/groups"
	sed -n 's/^SystemCallFilter=//p' "$units/rondo-server.service" | tr ' ' '\n' >"$TMPDIR/allowed"
	while
		awk 'NR == FNR { allowed[$1]; next } $1 in allowed { print $2 }' "$TMPDIR/allowed" "$TMPDIR/groups" | cat - "$TMPDIR/allowed" | sort -u >"$TMPDIR/more"
		! cmp -s "$TMPDIR/more" "$TMPDIR/allowed"
	do mv "$TMPDIR/more" "$TMPDIR/allowed"; done
	sed -n -E 's/^[0-9]+ +([a-z0-9_]+)\(.*/\1/p' "$TMPDIR/trace" | sort -u >"$TMPDIR/made"
	ok "its calls were seen" grep -qx openat2 "$TMPDIR/made"
	ok "some of them are in none of systemd's usual groups" grep -qx seccomp "$TMPDIR/made"
	is "$(comm -23 "$TMPDIR/made" <(sort -u "$TMPDIR/allowed") | tr '\n' ' ')" "" "none is one that the unit forbids"
else
	skip "the unit's command makes no call that it forbids" "strace cannot trace here"
fi
done_testing
