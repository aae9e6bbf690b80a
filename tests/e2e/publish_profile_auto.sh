#!/bin/bash
# rondo publish --profile auto boots what it publishes once and lays its boot packs out by what was read. A first boot from the site then
# fetches little else; nothing is left of the recording, and the disk that was given is as it was.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq
need_fuse
image=$("$ROOT/tests/images.sh" tiny) || skip_all "the appliance tiny cannot be built here"
cp --sparse=always "$image/disk" "$TMPDIR/disk"
chmod 444 "$TMPDIR/disk"
touch -d @1000000000 "$TMPDIR/disk"
before=$(sha256sum "$TMPDIR/disk"; stat -c '%s %Y %a' "$TMPDIR/disk")
appliance_disk=$TMPDIR/disk

# Relative names, from another folder: the machine runs elsewhere.
cd "$TMPDIR" || bail_out "cd"
appliance_disk=disk publish_appliance tiny "$TMPDIR/site" --profile auto --timeout 600
err=$(cat "$TMPDIR/publish.err")
like "$err" 'recording a boot of tiny 1, until its console shows "login:"' "it says what it does"
like "$err" 'it was ready after [0-9]+ s, with ([0-9]+) reads of its disk' "and what came of it"
reads=$(sed -nE 's/.*, with ([0-9]+) reads of its disk.*/\1/p' "$TMPDIR/publish.err")
ok "the boot's reads are recorded ($reads)" test "${reads:-0}" -gt 20
is "$(sha256sum "$TMPDIR/disk"; stat -c '%s %Y %a' "$TMPDIR/disk")" "$before" "the disk that was given was only read"
is "$(rondo ps --json)" "[]" "no machine is left"
is "$(ls -A "$RONDO_HOME/instances" "$RONDO_RUNTIME/instances" | grep -v '^$\|:$')" "" "nor a trace of it"
not_ok "no cache was made for it" test -e "$RONDO_CACHE"

serve_site "$TMPDIR/site"
run timeout 300 "$BUILD/rondo" run "$url/tiny" --ephemeral --net none --until login:
status_is 0 "a first boot from the site reaches its login prompt"
manifest=$(rondo inspect --json "$url/tiny" 2>/dev/null | jq -r .manifest)
grep -a '^boot ' "$TMPDIR/site/objects/"*/"$manifest" | cut -d ' ' -f 2 >"$TMPDIR/boot"
grep -o 'GET /objects/[^ ]*' "$access" | cut -d / -f 4 | grep -vx "$manifest" >"$TMPDIR/asked"
others=$(grep -cvxFf "$TMPDIR/boot" "$TMPDIR/asked")
ok "besides them hardly anything is: $(wc -l <"$TMPDIR/boot") boot packs, $others other requests" test "$others" -le 8
ok "in all, a boot takes at most 24 requests ($(wc -l <"$access"))" test "$(wc -l <"$access")" -le 24
done_testing
