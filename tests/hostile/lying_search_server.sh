#!/bin/bash
# What a server's API answers to rondo search and rondo ls --remote is unsigned: it can be shown or refused, in bounded memory and time. No
# text of it reaches the terminal as anything but text, no field the command that is shown but a name and a version, and nothing of it
# is remembered: whoever runs what was shown verifies it as ever.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

make_disk "$TMPDIR/disk" 1 1
must_publish image 1 "$TMPDIR/disk"
other=$("$BUILD/rondo" key new "$TMPDIR/other" >/dev/null 2>&1; "$BUILD/rondo" key show "$TMPDIR/other")
attack
run_rondo ls "$url" # the site is known
mkdir -p "$site/api/v1"
api=$site/api/v1/search
search=("$BUILD/rondo" search image --site "$url")

# answer [EXPRESSION]: what the API says: a list, after the statements in Python changed its answer `a` or its only row `i`.
answer() {
	python3 -c '
import json, sys
i = {"name": "image", "version": "1", "serial": 1, "manifest": "ab" * 32, "publisher": sys.argv[2], "tags": "latest", "title": "An image", "summary": "",
     "os": "", "arch": "x86_64", "licence": "", "homepage": "", "memory": 0, "disk_bytes": 1, "boot_bytes": 0, "stored_bytes": 1, "versions": 1, "revoked": False}
a = {"all": 1, "images": [i]}
exec(sys.argv[1])
json.dump(a, open(sys.argv[3], "w"))' "${1:-}" "$other" "$api"
	rules
}
refused() { # WHAT STATEMENTS [MESSAGE]
	answer "$2"
	withstands "$1" 5 "${3:-no list of images}" 'api/v1/search\?[^ ]*' "${search[@]}"
}

answer
withstands "a right answer" 0 '^$' 'api/v1/search\?limit=20&q=image' "${search[@]}"
is "$(tail -n 1 <<<"$out")" "    rondo run ${url}image:1" "is shown with the command"
run_rondo inspect "$(sed -n 's/^ *rondo run //p' <<<"$out")"
unlike "$status $out" "$other" "which believes nothing of it"

refused "no JSON" 'a = "text"'
for field in name serial manifest publisher title revoked; do
	refused "a row without its $field" "del i['$field']"
done
refused "a name with a command behind it" 'i["name"] = "image; reboot"'
refused "a name in another folder" 'i["name"] = "../image"'
refused "a name with a key" 'i["name"] = "image#" + i["publisher"]'
refused "a version with a newline" 'i["version"] = "1\nrondo run evil"'
refused "a hash that is none" 'i["manifest"] = "AB" * 32'
refused "a negative size" 'i["stored_bytes"] = -1'
refused "a size beyond all numbers" 'i["stored_bytes"] = 2 ** 70'
refused "more rows than were asked for" 'a["images"] *= 101'
refused "a list that is none" 'a["images"] = {"x": i}'
refused "a next page behind an empty one" 'a["images"] = []; a["next"] = "?offset=1"'
refused "a next page elsewhere" 'a["next"] = "http://127.0.0.1:1/"; a["all"] = 2'
answer 'a["next"] = "?a b#c"; a["all"] = 2'
run "${search[@]}"
like "$status $err $(requests 'a b')" '^5 .*names a next page that is none' "a next page that is no query is not asked for"
refused "arrays in arrays" 'i["title"] = eval("[" * 90 + "]" * 90); i["name"] = i["title"]'
printf '%0100000d' 0 | tr 0 '[' >"$api"
rules
withstands "and without end" 5 'no list of images' 'api/v1/search\?[^ ]*' "${search[@]}"
answer 'a["images"] = [0] * 340000'
withstands "a long list of nothing" 5 'no list of images' 'api/v1/search\?[^ ]*' "${search[@]}"
answer 'a["x"] = "x" * 2000000'
withstands "more than an answer can be" 5 'at most 1048576 can be right' 'api/v1/search\?[^ ]*' "${search[@]}"
answer
for rule in endless headers 'gzip' 'redirect to=self' garbage 'huge'; do
	rules "/api/* $rule"
	withstands "an answer that is $rule" 5 "cannot fetch api" 'api/v1/search\?[^ ]*' "${search[@]}"
done
rules '/api/* status code=503'
withstands "a server that is busy" 4 'HTTP 503' 'api/v1/search\?[^ ]*' "${search[@]}"

# Pages without end: no more are asked for than make up the limit.
answer 'a["next"] = "?offset=1"; a["all"] = 10 ** 9'
withstands "pages without end" 0 '7 of 1000000000 images' 'api/v1/search\?[^ ]*' "${search[@]}" --limit 7
is "$(grep -c 'rondo run' <<<"$out") $(requests 'offset=1')" "7 6" "as many as are wanted"

# Texts are text.
answer 'i["title"] = "\x1b[2J\x1b]0;x\x07\r\n\u202eevil\ud800"; i["summary"] = i["os"] = i["arch"] = i["tags"] = i["homepage"] = i["licence"] = i["title"]'
withstands "signs for the terminal" 0 '^$' 'api/v1/search\?[^ ]*' "${search[@]}"
unlike "$(LC_ALL=C tr -d '\n' <<<"$out" | LC_ALL=C tr '\0-\37\177' '!' | grep -aF -e '!' -e $'\u202e')" '.' "are shown as text"
is "$(wc -l <<<"$out")" 3 "and no line more"
run "${search[@]}" --json
ok "in JSON, too" python3 -c 'import json, sys; t = json.loads(sys.argv[1])[0]["title"]; assert t.isprintable() and "\\x1b" in t, t' "$out"
answer 'i["title"] = "x" * 900000'
withstands "a text without end" 0 '^$' 'api/v1/search\?[^ ]*' "${search[@]}"
ok "is cut" [ "${#out}" -lt 2000 ]
done_testing
