#!/bin/bash
# Killed at random moments, refused, or out of space, a commit leaves a whole site and the machine as it was; the same command then
# ends with the packs that an undisturbed one makes.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/stopped_machine.sh"
need qemu-system-x86_64 python3 perl
need_fuse
seed=${SEED:-$$}
diag "SEED=$seed (of the moments at which it is killed)"
RANDOM=$seed
make_disk "$TMPDIR/base" 20 1
must_publish image 1 "$TMPDIR/base"
make_machine one "$site/image"
cp "$TMPDIR/base" "$TMPDIR/flat"
write_blocks "$folder" "$TMPDIR/flat" data:0:4000:1 zero:4100:50
cp -r "$site" "$TMPDIR/start"
machine_sum() {
	sha256sum "$folder"/disk.data "$folder"/disk.map "$folder"/settings
}
untouched=$(machine_sum)
arguments=(commit one --name image --version 2 --key "$TMPDIR/key" --to "$site" --level 12)

# Undisturbed, for comparison and for the time that it takes.
started=$(date +%s%N)
run_rondo "${arguments[@]}"
status_is 0 "undisturbed it succeeds"
took=$((($(date +%s%N) - started) / 1000))
mv "$site" "$TMPDIR/undisturbed"
packs() { # of a site: its large objects; manifests and catalogs have dates in them
	(cd "$1/objects" && find . -type f -size +3k -printf '%f\n' | sort)
}

cp -r "$TMPDIR/start" "$site"
whole=1 ended=0
for _ in {1..10}; do
	"$BUILD/rondo" "${arguments[@]}" >"$TMPDIR/killed.log" 2>&1 &
	pid=$!
	moment=$(((RANDOM * 32768 + RANDOM) % (took * 9 / 10)))
	sleep "$((moment / 1000000)).$(printf '%06d' $((moment % 1000000)))"
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	python3 "$ROOT/tests/check_site.py" "$site" >"$TMPDIR/check.log" 2>&1 || whole=0
	if grep -q '^image image 2 ' "$site/catalog.rondo"; then
		ended=$((ended + 1))
		rm -rf "$site"
		cp -r "$TMPDIR/start" "$site"
	fi
done
diag "$ended of 10 were quick enough to end"
ok "most were killed before the end" [ "$ended" -lt 6 ]
is "$whole" 1 "the site is whole after each kill"
run_rondo "${arguments[@]}"
status_is 0 "the same command succeeds"
ok "the site is whole" check_site "$site"
is "$(packs "$site")" "$(packs "$TMPDIR/undisturbed")" "it has the packs that an undisturbed commit makes, and no others"
is "$(find "$site/.unfinished" -type f | wc -l)" 0 "nothing is left unfinished"
is "$(machine_sum)" "$untouched" "the machine's disk is what it was"

# Politely. One that was quick enough to end before it heard of it does not count.
is_locked() { # [SITE]. To try the lock would be in the way of whoever is about to take it
	grep -q "FLOCK .*:$(stat -c %i "${1:-$site}/.lock") " /proc/locks
}
code=0
for _ in {1..10}; do
	rm -rf "$site"
	cp -r "$TMPDIR/start" "$site"
	env --default-signal "$BUILD/rondo" "${arguments[@]}" >"$TMPDIR/signal.out" 2>"$TMPDIR/signal.log" &
	pid=$!
	wait_until 20 is_locked
	kill -INT "$pid" 2>/dev/null
	wait "$pid"
	code=$?
	[ "$code" -eq 0 ] || break
done
is "$code" 11 "SIGINT: exit code 11"
ok "the catalog is the old one" cmp "$site/catalog.rondo" "$TMPDIR/start/catalog.rondo"

# Politely, while what another site lacks of the base comes over a network that hardly moves.
attack "$TMPDIR/start"
make_machine far "${url}image"
rules '/objects/* slow rate=40000'
RONDO_CACHE=$TMPDIR/empty env --default-signal "$BUILD/rondo" commit far --name image --version 1 --force --key "$TMPDIR/key" \
	--to "$TMPDIR/elsewhere" >"$TMPDIR/signal.out" 2>"$TMPDIR/signal.log" &
pid=$!
has_ended() {
	! kill -0 "$pid" || [ "$(ps -o stat= -p "$pid")" = Z ]
}
wait_until 30 is_locked "$TMPDIR/elsewhere" || bail_out "the base is opened"
sleep 3 # for its map; the first pack would take minutes
kill -INT "$pid"
ok "SIGINT ends it at once" wait_until 20 has_ended
kill -KILL "$pid" 2>/dev/null
wait "$pid"
is "$?" 11 "with exit code 11"
not_ok "nothing was published" [ -e "$TMPDIR/elsewhere/catalog.rondo" ]
rules
folder=$RONDO_HOME/instances/one

# Two at once: on the machine, and on the site.
"$BUILD/rondo" "${arguments[@]}" >/dev/null 2>&1 &
pid=$!
wait_until 10 is_locked
kill -STOP "$pid"
run_rondo "${arguments[@]}"
status_is 10 "a second commit of the machine: exit code 10"
publish image 3 "$TMPDIR/base"
status_is 10 "a publication to the site meanwhile: exit code 10"
run_rondo run "$site/image" --name one --net none
status_is 10 "nor can the machine be started"
kill -CONT "$pid"
wait "$pid"
is "$?" 0 "the first one succeeds"
run flock "$site/.lock" "$BUILD/rondo" commit one --name image --version 3 --key "$TMPDIR/key" --to "$site"
status_is 10 "a site that somebody else writes to: exit code 10"
like "$err" "somebody else is publishing" "and why"

# What is refused before anything is done.
refused() { # EXIT_CODE WHAT TEXT OPTION…
	local code=$1 what=$2 text=$3
	shift 3
	run_rondo commit one "$@"
	status_is "$code" "$what"
	like "$err" "$text" "$what: says so"
}
catalog=$(sha256sum "$site/catalog.rondo")
usual=(--name image --version 4 --key "$TMPDIR/key" --to "$site")
"$BUILD/rondo" key new "$TMPDIR/other" >/dev/null 2>&1
refused 5 "another key" "give its file with --site-key" --name image --version 4 --key "$TMPDIR/other" --to "$site"
refused 3 "no key" "nothing.there" --name image --version 4 --key "$TMPDIR/nothing.there" --to "$site"
refused 4 "a URL where nobody listens" "Failed to connect" --name image --version 4 --key "$TMPDIR/key" --to http://127.0.0.1:1/
refused 1 "a version that exists" "choose another --version" --name image --version 2 --key "$TMPDIR/key" --to "$site"
refused 2 "no version" "--version is needed" --name image --key "$TMPDIR/key" --to "$site"
refused 3 "no kernel" "nothing.there" "${usual[@]}" --kernel "$TMPDIR/nothing.there"
refused 2 "a command line for no kernel" "give one with --kernel" "${usual[@]}" --cmdline quiet
run_rondo commit nobody "${usual[@]}"
status_is 3 "no such machine"
other=$(awk '$1 == "image" && $3 == "2" { print $5 }' "$site/catalog.rondo")
cp "$folder/settings" "$TMPDIR/settings"
sed -i "s/^manifest .*/manifest $other/" "$folder/settings"
refused 7 "another base than the disk was made over" "was made over the version with manifest" "${usual[@]}"
cp "$TMPDIR/settings" "$folder/settings"
is "$(sha256sum "$site/catalog.rondo")" "$catalog" "none of these changed the catalog"
is "$(machine_sum)" "$untouched" "nor the machine"

# A full disk.
mkdir "$TMPDIR/small"
if mount -t tmpfs -o size=24m none "$TMPDIR/small" 2>/dev/null; then
	at_exit 'umount -l "$TMPDIR/small"'
	cp -r "$TMPDIR/start" "$TMPDIR/small/site"
	fill "$TMPDIR/small" 4000
	site=$TMPDIR/small/site
	run_rondo commit one --name image --version 2 --key "$TMPDIR/key" --to "$site"
	status_is 8 "a full disk: exit code 8"
	ok "the site is whole" python3 "$ROOT/tests/check_site.py" "$site"
	rm "$TMPDIR/small/filler"
	run_rondo commit one --name image --version 2 --key "$TMPDIR/key" --to "$site"
	status_is 0 "with space the same command succeeds"
	ok "the site is whole then" check_site "$site"
else
	skip "a full disk" "no tmpfs can be mounted"
fi
done_testing
