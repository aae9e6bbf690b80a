#!/bin/bash
# The web pages in a real browser, as rondo-server makes them and as files of any web space: found, read, copied from, by keys, on a
# telephone, without scripts. What was seen is left in $BUILD/screenshots.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/browser/browser.sh"
need python3
need_browser

# Images with all that pages show, one of them by somebody who would like to get out of his texts.
make_disk "$TMPDIR/disk" 2 1
make_disk "$TMPDIR/newer" 2 2
make_logo "$TMPDIR/logo.png"
printf 'Some **bold** words, `code` and a [link](https://example.org/).\n\n- one\n- two\n\n<b>no markup</b>\n' >"$TMPDIR/description.md"
facts=(--title 'Debian <12> & more' --summary 'A summary of it' --os 'debian 12' --licence GPL-2.0 --memory 512M
	--description "$TMPDIR/description.md" --logo "$TMPDIR/logo.png" --show-port 8080:http)
must_publish bookworm 1 "$TMPDIR/disk" "${facts[@]}"
must_publish bookworm 2 "$TMPDIR/newer" "${facts[@]}"
must_publish tiny 1 "$TMPDIR/disk" --title Tiny --os 'alpine 3'
must_publish demo 1 "$TMPDIR/disk" --title Demonstration --os 'debian 13'
bad='<script>alert("title")</script>'
printf '%s\n\n[x](javascript:alert(1)) ![x](http://192.0.2.1/x.png) <img src=x onerror=alert(1)>\n\n%0300d\n' "$bad" 7 >"$TMPDIR/bad.md"
must_publish hostile 1 "$TMPDIR/disk" --title "$bad" --summary "\"'><img src=x onerror=alert(2)>" --licence "$bad" --os "$bad" \
	--description "$TMPDIR/bad.md" --show-port "80:http"

start_process live rondo-server --listen 127.0.0.1:0 --state "$TMPDIR/state" "$site"
wait_until 20 grep -q '^listening on' "$TMPDIR/live.log" || bail_out "the server starts"
url=$(sed -n 's/^listening on //p' "$TMPDIR/live.log")
drive pages.mjs live

# As files: any server would do.
port=$(free_port)
url=http://127.0.0.1:$port/
run_rondo site "$site" --url "$url"
status_is 0 "the pages are written as files"
start_process files rondo-server --listen "127.0.0.1:$port" "$site"
wait_for_port "$port" || bail_out "the server starts"
drive pages.mjs files
# What a visitor takes away means the same to rondo.
run sh -c "rondo inspect ${command#rondo run }"
status_is 0 "what was copied names an image"
like "$out" 'Debian <12> & more' "which is the page's"
run env -u DISPLAY -u WAYLAND_DISPLAY "$BUILD/rondo" open "$link"
like "$status $out$err" '^2 .*(bookworm:2|terminal)' "the button's link is one that rondo open takes, and asks about"
done_testing
