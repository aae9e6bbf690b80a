#!/bin/bash
# A server that redirects into the host, sends without end, lies about ranges, falls silent or comes and goes: bounded in memory and
# time, told with the right exit code, and never a wrong byte.
# time-limit: 400
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

disk=$TMPDIR/disk
make_disk "$disk" 12 1
must_publish image 1 "$disk"
manifest=$out
chunks="wrong 0 failed 0 right $((12 * 64))"
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 2" >"$XDG_CONFIG_HOME/rondo/config"
tries() { # WHAT CODES RULE…: a pull by a new acquaintance
	local what=$1 codes=$2
	shift 2
	forget
	rules "$@"
	measure "$BUILD/rondo" pull "${url}image"
	like "$status" "^($codes)$" "$what: exit code $codes" || diag "$err"
	ok "$what: in bounded memory ($peak KiB)" [ "$peak" -lt 65536 ]
	ok "$what: in bounded time ($seconds s)" [ "$seconds" -lt 20 ]
	[ "$status" -eq 0 ] || is "$out" "" "$what: nothing is said to be pulled"
}

# Those that take long run beside the others: in folders of their own, each with a server of its own.
good=$site
silent_pids=() silent_rules=('* silent' '/catalog.rondo slow rate=1' '/catalog.rondo slow-headers rate=1')
for i in 0 1 2; do
	attack
	rules "${silent_rules[i]}"
	(
		since=$SECONDS
		RONDO_HOME=$TMPDIR/silent.$i RONDO_CACHE=$TMPDIR/silent.$i.cache "$BUILD/rondo" pull "${url}image" \
			>"$TMPDIR/silent.$i.out" 2>"$TMPDIR/silent.$i.err"
		code=$?
		echo $((SECONDS - since)) >"$TMPDIR/silent.$i.seconds"
		exit $code
	) &
	silent_pids+=($!)
done
attack "$good"

# Redirects.
echo secret >"$TMPDIR/secret"
cp "$site/catalog.rondo" "$TMPDIR/local.rondo"
for target in "file://$TMPDIR/local.rondo" "gopher://127.0.0.1/" "ftp://127.0.0.1/" "javascript:alert(1)" "//" "http://"; do
	tries "a redirect to $target" '4|5' "/catalog.rondo redirect to=$target"
done
tries "a redirect to itself" '4|5' '/catalog.rondo redirect to=self'
is "$(requests catalog)" 6 "five redirects are followed, no more"
tries "packs that redirect to files" '4|5' "/objects/* range=yes redirect to=file://$TMPDIR/secret" "/objects/* after=1 redirect to=file:///{path}"
start_process elsewhere python3 "$ROOT/tests/hostile/attack_server.py" "$site" --log "$TMPDIR/elsewhere.requests"
wait_until 10 grep -q '^ready ' "$TMPDIR/elsewhere.log" || bail_out "a second server starts"
elsewhere=http://127.0.0.1:$(awk '{ print $2 }' "$TMPDIR/elsewhere.log")
tries "packs that redirect to another private server of a private site" 0 "/objects/* redirect to=$elsewhere{path}"

# Without end.
for what in catalog.rondo 'objects/*'; do
	tries "$what: endless" '4|5' "/$what endless"
	tries "$what: huge" '4|5' "/$what huge"
	tries "$what: endless header lines" '4|5' "/$what headers"
	tries "$what: a gzip bomb" '4|5' "/$what gzip"
	tries "$what: no HTTP" '4|5' "/$what garbage"
	tries "$what: more than there should be" '0|4|5' "/$what extra bytes=100"
done
tries "the packs alone: endless" '4|5' "/objects/* range=no first=1 serve" "/objects/* endless"
# A manifest that is another one's, a catalog that is a manifest: right hashes in wrong places.
mkdir "$TMPDIR/swapped"
cp "$site/objects/${manifest:0:2}/$manifest" "$TMPDIR/swapped/catalog.rondo"
tries "the manifest instead of the catalog" 5 "/catalog.rondo stale from=$TMPDIR/swapped"

for i in 0 1 2; do
	wait "${silent_pids[i]}"
	is "$?" 4 "${silent_rules[i]}: exit code 4" || diag_file "$TMPDIR/silent.$i.err"
	ok "after the ten seconds that a server may be silent ($(cat "$TMPDIR/silent.$i.seconds") s)" \
		[ "$(cat "$TMPDIR/silent.$i.seconds")" -lt 16 ]
done

# Comes and goes, and lies about ranges: everything arrives all the same.
echo "outage-seconds 20" >"$XDG_CONFIG_HOME/rondo/config"
tries "every second answer is 500" 0 '* nth=2 status code=500'
tries "every third answer is 503, with Retry-After" 0 '/objects/* nth=3 status code=503 retry-after=1'
tries "every second connection is reset in the body" 0 '/objects/* nth=2 reset at=5000'
tries "every second connection is reset in the head" 0 '/objects/* nth=2 reset'
tries "every second body is cut" 0 '/objects/* nth=2 cut at=70000'
tries "up for 0.3 s, down for 0.3 s" 0 '* up=0.3 down=0.3 reset'
tries "ranges are ignored" 0 '* no-ranges'
tries "ranges are ignored now and then" 0 '* nth=2 no-ranges'
tries "every second answer is of another range" '0|5' '/objects/* nth=2 wrong-range'
tries "every second answer lies about its range" '0|5' '/objects/* nth=2 lying-range'
tries "all answers lie about their ranges" 5 '/objects/* range=yes lying-range' '/objects/* after=1 flip'
tries "answers of a range that do not say of which" '0|5' '/objects/* no-content-range'
tries "packs that are not there" 3 '/objects/* after=1 status code=404'
tries "packs that may not be had" '4|5|9' '/objects/* after=1 status code=403'

# The same behind a mount.
if [ -w /dev/fuse ]; then
	for rule in '* nth=2 status code=500' '/objects/* nth=2 reset at=3000' '/objects/* nth=3 cut at=20000' '* no-ranges' \
		'/objects/* nth=3 wrong-range' '* up=0.2 down=0.2 reset'; do
		forget
		rules
		run_rondo inspect "${url}image"
		rules "$rule"
		mount_image "${url}image"
		result="$status $(compare "$disk" "$TMPDIR/mounted/disk")"
		case $rule in
		*wrong-range*) like "$result" '^0 wrong 0 ' "a mount of \"$rule\" reads nothing wrong ($result)" ;; # a lie may be an error
		*) is "$result" "0 $chunks" "a mount of \"$rule\" reads right" ;;
		esac
		unmount_image
	done
	forget
	rules
	run_rondo inspect "${url}image"
	rules '/objects/* nth=2 lying-range'
	mount_image "${url}image"
	read -r _ wrong _ failed _ right <<<"$(compare "$disk" "$TMPDIR/mounted/disk")"
	is "$wrong" 0 "a mount of answers that lie about their ranges: nothing wrong is read ($failed failed, $right right)"
	unmount_image
else
	skip "mounts" "/dev/fuse cannot be opened"
fi
rules
forget
run_rondo pull "${url}image"
is "$status $out" "0 $manifest" "after all of that a good server serves as ever"
done_testing
