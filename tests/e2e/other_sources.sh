#!/bin/bash
# Any folder of objects, a stick or a share, is a source that is asked before the site: what it has makes no request, what it lacks
# comes from the site, and what it has wrong hurts nobody.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl cmp
need_fuse

make_disk "$TMPDIR/disk" 8 1
must_publish image 1 "$TMPDIR/disk"
cp -r "$site" "$TMPDIR/stick"
rm "$TMPDIR/stick/catalog.rondo" # objects are enough
attack "$site"

run_rondo pull --source "$TMPDIR/stick" "${url}image"
status_is 0 "pull, with a stick"
is "$(requests 'GET /objects/') $(requests 'GET /catalog')" "0 1" "the site is asked for its catalog alone" || diag "$(cat "$requests")"

forget
cd "$TMPDIR" || exit 1
mount_image "${url}image" --source stick
status_is 0 "mount, with a stick by a relative path"
ok "the disk is right" cmp "$TMPDIR/disk" "$TMPDIR/mounted/disk"
unmount_image
is "$(requests 'GET /objects/')" 0 "and none of it came from the site"

for verb in "inspect ${url}image" "history ${url}image" "diff ${url}image ${url}image"; do
	forget
	# shellcheck disable=SC2086 # the verb and its addresses
	run_rondo $verb --source "$TMPDIR/stick" --json
	is "$status $(requests 'GET /objects/')" "0 0" "${verb%% *}, with a stick, asks the site for no object"
done

forget
mkdir -p "$XDG_CONFIG_HOME/rondo"
printf 'source %s\nsource %s\n' "$TMPDIR/not-plugged-in" "$TMPDIR/stick" >"$XDG_CONFIG_HOME/rondo/config"
rules
run_rondo pull "${url}image"
status_is 0 "the stick is in the configuration, beside one that is not there"
is "$(requests 'GET /objects/')" 0 "and serves"
unlike "$err" 'not-plugged-in' "nothing is said of the other"
rm -rf "$RONDO_CACHE"
run_rondo pull "${url}image" # the catalog is remembered
rm -rf "$RONDO_CACHE"
rules '* status code=500'
mount_image "${url}image" --offline
status_is 0 "mount --offline, of what the stick has"
ok "its disk is right" cmp "$TMPDIR/disk" "$TMPDIR/mounted/disk"
unmount_image
is "$(requests)" 0 "without a request"
rm "$XDG_CONFIG_HOME/rondo/config"

forget
rules
run_rondo pull --source "$TMPDIR/none" "${url}image"
status_is 0 "a stick that is not there is no error"
like "$err" "the source $TMPDIR/none/ cannot be opened" "but one that was named is told of"
run_rondo pull --source 'http://[' "${url}image"
status_is 2 "what is no address is one"

largest=$(find "$TMPDIR/stick/objects" -type f -size +100k | sort | head -n 1)
printf x | dd of="$largest" bs=1 seek=5000 conv=notrunc status=none
forget
rules
run_rondo pull --source "$TMPDIR/stick" "${url}image"
status_is 0 "a stick that has rotten"
like "$err" 'stick.*asked last' "is told of"
unlike "$(requests 'GET /objects/')" '^0$' "and the site asked"
mount_image "${url}image" --offline
ok "the disk is right" cmp "$TMPDIR/disk" "$TMPDIR/mounted/disk"
unmount_image

# Mirrors that the user names, by their URLs: one that is down, one that lies about every pack, and one that falls silent after a few
# bytes. They cost requests and a delay, no error, and whoever has lied is not asked again.
site_url=$url site_requests=$requests
attack "$site"
liar=$url liar_requests=$requests
rules '/objects/* flip'
attack "$site"
silent=$url silent_requests=$requests
rules '/objects/* slow rate=0.1'
site_asked() {
	grep -c 'GET /objects/' "$site_requests"
}
for sources in "--source http://127.0.0.1:1/" "--source $liar" "--source http://127.0.0.1:1/ --source $liar --source $silent"; do
	forget
	: >"$site_requests" && : >"$liar_requests" && : >"$silent_requests"
	# shellcheck disable=SC2086 # words on purpose
	run_rondo pull $sources "${site_url}image"
	status_is 0 "pull $sources"
	ok "all of it comes from the site ($(site_asked) requests)" [ "$(site_asked)" -ge "$(find "$site/objects" -type f | wc -l)" ]
	ok "the liar is asked at most once by each who fetches ($(wc -l <"$liar_requests") times)" [ "$(wc -l <"$liar_requests")" -le 8 ]
	ok "the silent one, too ($(wc -l <"$silent_requests") times)" [ "$(wc -l <"$silent_requests")" -le 8 ]
	is "$(grep -hc catalog "$liar_requests" "$silent_requests" | tr '\n' ' ')" "0 0 " "none of them was asked for a catalog"
	case $sources in
	*"$liar"*) like "$err" "objects/.* from $liar: .*asked last" "it is said that one lies" ;;
	esac
	mount_image "${site_url}image" --offline
	ok "the disk is right" cmp "$TMPDIR/disk" "$TMPDIR/mounted/disk"
	unmount_image
done
url=$site_url

# Another site as a source, which is not believed in anything either.
make_disk "$TMPDIR/other" 4 9
site=$TMPDIR/othersite must_publish image 1 "$TMPDIR/other"
forget
run_rondo pull --source "$TMPDIR/othersite" "${url}image"
status_is 0 "another site's folder as a source is no error"
run_rondo ls "${url}" --json
is "$(python3 -c 'import json,sys; print([i["pulled"] for i in json.loads(sys.argv[1])])' "$out")" "[True]" "and what was pulled is what this site names"
done_testing
