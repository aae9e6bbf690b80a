#!/bin/bash
# The read API of rondo-server --state (docs/api.md): lists, pages, search, one image, versions; ETag and 304; every failure; the index
# after a damage, and made anew under a server that runs.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need curl python3 perl

make_disk "$TMPDIR/disk" 2 1
must_publish debian 12 "$TMPDIR/disk" --title 'Debian "bookworm" <b>' --summary 'a Café system' --os 'Debian GNU/Linux 12' --memory 512M
change_disk "$TMPDIR/disk" 65536 100000
must_publish debian 13 "$TMPDIR/disk" --title 'Debian trixie' --os 'Debian GNU/Linux 13'
must_publish alpine 3 "$TMPDIR/disk" --title 'Alpine' --os 'Alpine Linux' --homepage https://example.org/
key=$("$BUILD/rondo" key show "$TMPDIR/key")
state=$TMPDIR/state

serve() {
	start_process server rondo-server --listen 127.0.0.1:0 --state "$state" "$@" "$site"
	wait_until 20 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "the server starts"
	url=$(sed -n 's/^listening on //p' "$TMPDIR/server.log")
}
# get PATH [CURL OPTION…]: sets $code, $out (the body) and $headers.
get() {
	local path=$1
	shift
	: >"$TMPDIR/body"
	code=$(curl -sS --max-time 20 --path-as-is -o "$TMPDIR/body" -D "$TMPDIR/headers" -w '%{http_code}' "$@" "${url}api/v1/$path")
	headers=$(tr -d '\r' <"$TMPDIR/headers")
	out=$(tr -d '\0' <"$TMPDIR/body")
}
header() {
	sed -n "s/^$1: //Ip" <<<"$headers"
}
see() { # EXPRESSION in Python about the answer `a`
	python3 -c 'import json, sys; a = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1" <<<"$out"
}
names='[i["name"] + ":" + i["version"] for i in a["images"]]'

serve
is "$(stat -c %a "$state" "$state/index/index.db" | tr '\n' ' ')" "700 600 " "the state folder is the server's alone"
get images
is "$code $(see "$names")" "200 ['alpine:3', 'debian:13']" "all images, each once, by name"
is "$(see '[a["all"], a["offset"], "next" in a]')" "[2, 0, False]" "they are counted"
is "$(see 'a["site"]["key"]')" "$key" "the site names its key"
is "$(header content-type) $(header cache-control) $(header x-content-type-options)" "application/json no-cache nosniff" "as JSON that is asked for again"
get images/debian?version=12
is "$(see '[a["image"][k] for k in ("title", "summary", "os", "memory", "tags", "description", "revoked", "arch")]')" \
	"['Debian \"bookworm\" <b>', 'a Café system', 'Debian GNU/Linux 12', 536870912, '', '', False, 'x86_64']" "one version, as its manifest has it"
get images/alpine
is "$(see '[a["image"]["version"], a["image"]["homepage"], a["image"]["versions"], a["image"]["disk_bytes"]]')" "['3', 'https://example.org/', 1, 2097152]" "one image is what latest names"
get images/debian/versions
is "$(see '[(v["version"], v["serial"]) for v in a["versions"]]')" "[('13', 2), ('12', 1)]" "its versions, newest first"
sizes=$(see '[(v["version"], v["stored_bytes"], v["new_bytes"]) for v in a["versions"]]')
out=$(rondo history "${url}debian" --json 2>/dev/null)
is "$(see '[(v["version"], v["stored_bytes"], v["new_bytes"]) for v in a]')" "$sizes" "what they store, and what is new, is what rondo history counts"

for search in 'q=cafe|[]' 'q=TRIX|[debian:13]' 'q=debian+trixie|[debian:13]' 'q=linux|[alpine:3 debian:13]' 'q=%22debian|[debian:13]' 'q=|[alpine:3 debian:13]' \
	'os=alpine|[alpine:3]' 'os=debian+gnu&q=deb|[debian:13]' 'arch=arm64|[]' "publisher=$key&sort=age|2" 'max_size=1|[]' 'max_size=1G|[alpine:3 debian:13]'; do
	get "search?${search%|*}"
	case ${search#*|} in
	2) is "$code $(see 'a["all"]')" "200 2" "search ${search%|*}" ;;
	*) is "$code [$(see "\" \".join(sorted($names))")]" "200 ${search#*|}" "search ${search%|*}" ;;
	esac
done

get 'search?limit=1&sort=name&os=&q=%4cinux'
is "$(see "$names") $(see 'a["next"]')" "['alpine:3'] ?q=Linux&sort=name&limit=1&offset=1" "a page names the next one"
get "search$(see 'a["next"]')"
is "$(see "$names") $(see '"next" in a')" "['debian:13'] False" "which is the last"
get 'images?offset=7'
is "$code $(see '[a["all"], a["images"]]')" "200 [2, []]" "behind the last there is nothing"

get images
tag=$(header etag)
like "$tag" '^"3-[0-9a-f]{8}-[0-9a-f]+"$' "the ETag has the catalog's number"
get images -H "If-None-Match: $tag"
is "$code $(header etag) $out" "304 $tag " "asked again, nothing is sent"
get search?q=deb -H "If-None-Match: W/\"other\", $tag"
is "$code" 304 "nor in a list of tags"
get images -I
is "$code $(header content-length)" "200 $(curl -s "${url}api/v1/images" | wc -c)" "HEAD is GET without its body"

# rondo search and rondo ls --remote, which ask this API: unsigned, so that nothing is remembered of the site.
forget
run_rondo search trixie
is "$status $err" "3 rondo: no site is known yet; name one by its address (rondo search WORD --site URL, rondo ls --remote URL)" "without a site there is nothing to ask"
RONDO_SITE=$url run_rondo search CAFE
is "$status $out" "3 " "the configuration's site is asked; of an image's older version nothing is found"
run_rondo search GNU trix --site "$url"
like "$status $out" "^0 debian 13: Debian trixie, Debian GNU/Linux 13, x86_64, [0-9.]+ [KM]iB, publisher ${key:0:8}"$'\n'"    rondo run ${url}debian:13\$" "search finds, and says how it is run"
is "$(rondo trust ls)" "" "the trust database does not know the site"
found='[(i["name"], i["version"], i["publisher"], i["signed"], i["revoked"], i["stored_bytes"] > 500000) for i in a]'
run_rondo search linux --site "$url" --os Debian --arch x86_64 --publisher "$key" --json
is "$status $(see "$found")" "0 [('debian', '13', '$key', False, False, True)]" "with conditions, as JSON"
run_rondo search linux --site "$url" --limit 1
is "$status $(grep -c 'rondo run' <<<"$out") $err" "0 1 rondo: 1 of 2 images at $url are shown; --limit 2 shows all" "a part says that it is one"
run_rondo search linux --site "$url" --os plan9
is "$status $out" "3 " "nothing found is exit code 3"
run_rondo ls --remote "$url" --json
is "$status $(see '[(i["name"], i["command"]) for i in a]')" "0 [('alpine', 'rondo run ${url}alpine:3'), ('debian', 'rondo run ${url}debian:13')]" "ls --remote lists all"
run_rondo search linux --site "$url" --site http://127.0.0.1:1/
like "$status $(grep -c 'rondo run' <<<"$out") $err" '^0 2 rondo: cannot fetch .* from http://127.0.0.1:1/' "a site that is silent is told of, and the others are shown"
run_rondo search linux --site http://127.0.0.1:1/
is "$status $out" "4 " "alone it is exit code 4"
run_rondo search debi --site "$site"
is "$status $out" "0 debian 13"$'\n'"    rondo run $site/debian:13" "a folder has no API: its catalog's names"
like "$err" 'has no search; these are the names that its signed catalog lists' "which is said"
cp -r "$site" "$TMPDIR/it's [a] site"
run_rondo search DEBI 1 --site "$TMPDIR/it's [a] site"
is "$status $out" "3 " "all words must be in the name"
run_rondo search DEBI a --site "$TMPDIR/it's [a] site"
is "$(tail -n 1 <<<"$out")" "    rondo run '$TMPDIR/it'\\''s [a] site/debian:13'" "a command is quoted where a shell needs it"
run_rondo search --os deb x --site "$site"
like "$status $err" '^3 .*tells neither systems nor publishers' "what a catalog cannot tell is refused"
run_rondo search an
like "$(grep -c 'rondo run' <<<"$out") $err" '^2 .*no search' "without --site all known sites are asked"
for wrong in "search" "search x --publisher y" "search x --limit 0" "search $(printf 'x%.0s' {1..300})" "search x --os $(printf '\033[2J')" \
	"ls --limit 3" "ls --remote --offline" "ls --remote a b"; do
	run_rondo $wrong
	is "$status $out" "2 " "refused: $(printf '%.40q' "$wrong")"
done

# Failures.
fails() { # PATH CODE REGEX [CURL OPTION…]
	local path=$1 wanted=$2 message=$3
	shift 3
	get "$path" "$@"
	like "$code $out $(header cache-control)" "^$wanted \{\"error\": \".*$message.*\} no-store\$" "$path${*:+ ($*)}: $wanted"
}
fails '' 404 'nothing of that name'
fails none 404 'nothing of that name'
fails images/ 404 'nothing of that name'
fails images/debian/ 404 'nothing of that name'
fails images/debian/versions/1 404 'nothing of that name'
fails images/UPPER 404 'nothing of that name'
fails images/%64ebian 404 'nothing of that name'
fails images/../images 404 'nothing of that name'
fails images/none 404 'no image none here'
fails images/none/versions 404 'no image none here'
fails images/debian?version=99 404 'no version or tag 99 of debian here'
fails images?q=x 400 'no parameter q here'
fails images/debian?limit=1 400 'no parameter limit here'
fails 'images?limit=1&limit=1' 400 'limit is there twice'
for wrong in limit=0 limit=101 limit=-1 limit=x limit=1e2 limit=01 offset=1000001 offset=99999999999999999999 sort=random max_size=x max_size=-1 \
	q=%00 q=a%0ab q=%1b%5b2J q=%ff q=%zz q=% q=%4 "q=$(printf 'x%.0s' {1..300})" q=%e2%80%ae; do
	fails "search?$wrong" 400 "${wrong%%=*} has a value"
done
fails images 405 'only GET and HEAD' -X POST
is "$(header allow)" "GET, HEAD" "405 says what is allowed"
fails images 405 'only GET and HEAD' -X DELETE
fails images 400 'has no body' -X GET -d body
get images
is "$code" 200 "the server goes on"

# The index is made anew under a server that runs, and by its start.
run rondo-server reindex --state "$state" "$site"
is "$status $out" "0 3 versions are in the index" "reindex beside the server"
get images
is "$code $(see 'a["all"]')" "200 2" "which goes on with it"
[ "$(header etag)" != "$tag" ]
ok "and has another ETag" [ $? = 0 ]
finds() { # NAME:VERSION, in the list of all
	get images
	[ "$code" = 200 ] && see "'$1' in $names" | grep -q True
}
# (Words first: who reads tells of that damage, and tells of some at most once in a while.)
python3 -c 'import sqlite3, sys
x = sqlite3.connect(sys.argv[1])
x.execute("DELETE FROM words_data WHERE id > 10")
x.commit()' "$state/index/index.db"
get search?q=trixie
is "$code" 503 "a search in tables of words that are damaged fails"
searches() {
	get search?q=trixie
	[ "$code" = 200 ] && [ "$(see "$names")" = "['debian:13']" ]
}
ok "which lets all be made anew" wait_until 20 searches
must_publish debian 14 "$TMPDIR/disk"
ok "and what is published meanwhile comes into it" wait_until 20 finds debian:14
echo bla >"$TMPDIR/bla"
mv "$TMPDIR/bla" "$state/index/index.db"
ok "a damaged one is made anew while the server runs" wait_until 20 finds debian:14
stop_process "$process"
echo bla >"$state/index/index.db"
must_publish alpine 4 "$TMPDIR/disk"
serve
get images
is "$code $(see "$names")" "200 ['alpine:4', 'debian:14']" "a server that starts mends it, and sees what was published"
unlike "$(cat "$TMPDIR/server.log")" 'system call' "no call was refused"
stop_process "$process"

run rondo-server --state "$site/state" "$site"
is "$status" 2 "the state folder may not lie in the site"
run rondo-server reindex "$site"
is "$status" 2 "reindex wants to know where the index is"
run rondo-server reindex --state "$state" "$TMPDIR/nowhere"
is "$status" 3 "and a site"
mkdir "$TMPDIR/empty"
run rondo-server reindex --state "$TMPDIR/state2" "$TMPDIR/empty"
is "$status" 3 "with a catalog"
site=$TMPDIR/empty state=$TMPDIR/state2
serve
fails images 404 'nothing is published here yet'
like "$(curl -sS -w '%{http_code}' "$url")" 'Nothing was published here yet.*404$' "nor is there more to see than a page that says so"
must_publish alpine 3 "$TMPDIR/disk"
ok "until something is" wait_until 20 finds alpine:3
is "$(grep -c 'has no catalog yet' "$TMPDIR/server.log")" 1 "that there was no catalog was said once"
done_testing
