#!/bin/bash
# Killed at twenty random moments, publishing leaves a whole site each time, and the same command ends with the site that an
# undisturbed one makes; so does what lists a version that was signed elsewhere. Interrupted politely, it ends with exit code 11.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

make_disk "$TMPDIR/old" 4 1
make_disk "$TMPDIR/new" 40 2
seed=${SEED:-$$}
diag "SEED=$seed (of the moments at which it is killed)"
RANDOM=$seed

# Undisturbed, for comparison and for the time that it takes.
must_publish image 1 "$TMPDIR/old"
cp -r "$site" "$TMPDIR/start"
started=$(date +%s%N)
must_publish image 2 "$TMPDIR/new"
took=$((($(date +%s%N) - started) / 1000))
mv "$site" "$TMPDIR/undisturbed"
packs() { # of a site: its large objects; manifests and catalogs have dates in them
	(cd "$1/objects" && find . -type f -size +3k -printf '%f\n' | sort)
}

cp -r "$TMPDIR/start" "$site"
start_and_kill() { # after at most $1 microseconds
	"$BUILD/rondo" publish --name image --version 2 --disk "$TMPDIR/new" --key "$TMPDIR/key" --to "$site" >"$TMPDIR/killed.log" 2>&1 &
	local pid=$! moment=$(((RANDOM * 32768 + RANDOM) % $1))
	sleep "$((moment / 1000000)).$(printf '%06d' $((moment % 1000000)))"
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
}
is_published() {
	grep -q '^image image 2 ' "$site/catalog.rondo"
}
whole=1 ended=0
for _ in {1..20}; do
	start_and_kill $((took * 8 / 10))
	if ! check_site "$site" >"$TMPDIR/check.log" 2>&1; then
		whole=0
		diag_file "$TMPDIR/check.log"
	fi
	if is_published; then # from the beginning
		ended=$((ended + 1))
		rm -rf "$site"
		cp -r "$TMPDIR/start" "$site"
	fi
done
diag "$ended of 20 were quick enough to end"
ok "most were killed before the end" [ "$ended" -lt 10 ]
is "$whole" 1 "the site is whole after each kill"
is "$(ls -A "$site" | sort | tr '\n' ' ')" ".lock .unfinished catalog.rondo objects " "no temporary lies in the site's folder"

for _ in {1..20}; do # there must be something to go on from
	[ ! -s "$site/.unfinished/image" ] || break
	start_and_kill $((took * 8 / 10))
	if is_published; then
		rm -rf "$site"
		cp -r "$TMPDIR/start" "$site"
	fi
done
files() {
	(cd "$site/objects" && find . -type f -printf '%i %f\n' | sort)
}
before=$(files)
publish image 2 "$TMPDIR/new"
status_is 0 "the same command succeeds"
is "$(comm -23 <(echo "$before") <(files))" "" "what there was is used, not made again"
ok "the site is whole" check_site "$site"
is "$(packs "$site")" "$(packs "$TMPDIR/undisturbed")" "it has the packs that an undisturbed publication makes, and no others"
is "$(find "$site/.unfinished" -type f | wc -l)" 0 "nothing is left unfinished"

# Politely.
for signal in INT TERM HUP; do
	rm -rf "$site"
	cp -r "$TMPDIR/start" "$site"
	env --default-signal "$BUILD/rondo" publish --name image --version 2 --disk "$TMPDIR/new" --key "$TMPDIR/key" --to "$site" --level 12 \
		>"$TMPDIR/signal.out" 2>"$TMPDIR/signal.log" &
	pid=$!
	# From when on it takes signals; until it is rondo, it is a shell that does.
	wait_until 20 awk '/^Name:\trondo$/ { named = 1 } /^SigCgt:.*[1-9a-f]/ { takes = 1 } END { exit !(named && takes) }' "/proc/$pid/status"
	kill -"$signal" "$pid"
	wait "$pid"
	is "$?" 11 "SIG$signal: exit code 11"
	like "$(cat "$TMPDIR/signal.log")" '[Cc]ancelled' "SIG$signal: says why"
	is "$(find "$site" -name '.rondo-tmp-*' | wc -l)" 0 "SIG$signal: no temporary stays"
	cmp -s "$site/catalog.rondo" "$TMPDIR/start/catalog.rondo" && pass "SIG$signal: the catalog is the old one" ||
		fail "SIG$signal: the catalog is the old one"
done
publish image 2 "$TMPDIR/new" --level 12
status_is 0 "afterwards the same command succeeds"
ok "the site is whole" check_site "$site"

# renew, killed: one catalog or the other.
valid=1
for _ in {1..10}; do
	"$BUILD/rondo" renew "$site" --key "$TMPDIR/key" >/dev/null 2>&1 &
	pid=$!
	sleep "0.00$((RANDOM % 10))"
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	python3 "$ROOT/tests/check_site.py" "$site" >/dev/null && "$BUILD/rondo" ls "$site" >/dev/null 2>&1 || valid=0
done
is "$valid" 1 "renew, killed ten times, leaves a valid catalog"
ok "and works then" "$BUILD/rondo" renew "$site" --key "$TMPDIR/key"
is "$(find "$site" -name '.rondo-tmp-*' | wc -l)" 0 "and sweeps what the killed ones left"

# publish --signed, killed: the site before it or behind it; the same command ends it.
rm -rf "$site"
cp -r "$TMPDIR/start" "$site"
"$BUILD/rondo" publish --name image --version 2 --disk "$TMPDIR/new" --key "$TMPDIR/key.pub" --to "$site" --unsigned "$TMPDIR/text" \
	>"$TMPDIR/unsigned.log" 2>&1 && "$BUILD/rondo" sign "$TMPDIR/text" --key "$TMPDIR/key" >>"$TMPDIR/unsigned.log" 2>&1 || {
	diag_file "$TMPDIR/unsigned.log"
	bail_out "a version is signed elsewhere"
}
cp -r "$site" "$TMPDIR/unsigned"
signed=("$BUILD/rondo" publish --signed "$TMPDIR/text.signed" --to "$site" --site-key "$TMPDIR/key")
started=$(date +%s%N)
ok "publish --signed lists it" "${signed[@]}"
took=$((($(date +%s%N) - started) / 1000))
whole=1 ended=0
for _ in {1..10}; do
	if is_published; then
		rm -rf "$site"
		cp -r "$TMPDIR/unsigned" "$site"
		ended=$((ended + 1))
	fi
	"${signed[@]}" >"$TMPDIR/killed.log" 2>&1 &
	pid=$!
	sleep "0.$(printf '%06d' $(((RANDOM * 32768 + RANDOM) % (took < 999999 ? took : 999999))))"
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	check_site "$site" >"$TMPDIR/check.log" 2>&1 || {
		whole=0
		diag_file "$TMPDIR/check.log"
	}
done
diag "$((ended - 1)) of 10 were quick enough to list it"
is "$whole" 1 "killed ten times, it leaves a whole site each time"
is_published || ok "the same command ends it" "${signed[@]}"
ok "the site is whole" check_site "$site"
is "$(packs "$site")" "$(packs "$TMPDIR/undisturbed")" "and has the packs of an undisturbed publication"
is "$(find "$site" -name '.rondo-tmp-*' | wc -l)" 0 "and no temporary"

# Two at once: one does it, the other is told to wait; neither harms the other.
rm -rf "$site"
cp -r "$TMPDIR/start" "$site"
is_locked() { # To try the lock would be in the way of whoever is about to take it
	grep -q "FLOCK .*:$(stat -c %i "$site/.lock") " /proc/locks
}
"$BUILD/rondo" publish --name image --version 2 --disk "$TMPDIR/new" --key "$TMPDIR/key" --to "$site" >/dev/null 2>&1 &
pid=$!
wait_until 10 is_locked
kill -STOP "$pid"
publish image 3 "$TMPDIR/old"
status_is 10 "a second publisher: exit code 10"
like "$err" 'somebody else is publishing' "and is told why"
run_rondo renew "$site" --key "$TMPDIR/key"
status_is 10 "renew meanwhile: exit code 10"
kill -CONT "$pid"
wait "$pid"
is "$?" 0 "the first one succeeds"
publish image 3 "$TMPDIR/old"
status_is 0 "then the second one does"
ok "the site is whole" check_site "$site"
done_testing
