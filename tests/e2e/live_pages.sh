#!/bin/bash
# The pages that rondo-server --state shows: the same bytes as the static form but for search, with a policy and an ETag; the visitor's own
# URL in commands; search, filters and the way on; logos; what is not there.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl curl

head -c 100000 /dev/urandom >"$TMPDIR/disk"
printf '\211PNG\r\n\032\n and so on' >"$TMPDIR/logo"
echo '**Text** <script>' >"$TMPDIR/text"
must_publish tiny 1 "$TMPDIR/disk" --title 'Tiny <b>' --os 'Tiny OS' --description "$TMPDIR/text" --logo "$TMPDIR/logo" --show-port 22:ssh
must_publish tiny 2 "$TMPDIR/disk" --title 'Tiny <b>' --os 'Tiny OS' --logo "$TMPDIR/logo" --description "$TMPDIR/text"
for ((i = 1; i <= 20; i++)); do
	must_publish "many.$i" 1 "$TMPDIR/disk" --title "Number $i" --os "Many OS"
done

start_process live "$BUILD/rondo-server" --state "$TMPDIR/state" --listen 127.0.0.1:0 "$site"
wait_until 20 grep -q '^listening' "$TMPDIR/live.log" || bail_out "the server starts"
url=$(sed -n 's/^listening on //p' "$TMPDIR/live.log")
ask() { # TARGET [CURL-OPTION…]: sets $code, $type, $head and $page, a file
	local target=$1
	shift
	page=$TMPDIR/page
	read -r code type < <(curl -sg -D "$TMPDIR/head" -o "$page" -w '%{http_code} %{content_type}' "$@" "$url$target")
	head=$(tr -d '\r' <"$TMPDIR/head")
}
run_rondo site "$site" --url "$url"
is "$status" 0 "the static form is written beside"

for file in images/tiny/ images/many.7/; do
	ask "$file"
	is "$code $type" "200 text/html; charset=utf-8" "/$file"
	ok "has the bytes of the static form" cmp "$page" "$site/${file}index.html"
done
for file in '' page/2/; do
	ask "$file"
	is "$code" 200 "/$file"
	ok "too, but for the search" python3 - "$page" "$site/${file}index.html" <<'E'
import re, sys
live, static = (open(f).read() for f in sys.argv[1:])
without = re.sub(r'<form class="find".*?</form>\n', "", live, flags=re.S)
assert without != live and without == static
E
done
ask rondo.js
is "$code $type" "200 text/javascript; charset=utf-8" "the script"
ok "is that of the static form" cmp "$page" "$site/rondo.js"
for file in icon.svg favicon.ico; do
	ask "$file"
	is "$code $type" "200 image/svg+xml" "/$file"
	ok "is the icon of the static form" cmp "$page" "$site/icon.svg"
done
logo=$(cd "$site/images/tiny" && echo logo-*)
ask "images/tiny/$logo"
is "$code $type" "200 image/png" "a logo"
ok "is its object" cmp "$page" "$TMPDIR/logo"
like "$head" "immutable.*nosniff.*default-src 'none'" "for ever, as a picture and nothing else"
tag=$(sed -n 's/^ETag: //p' <<<"$head")
ask "images/tiny/$logo" -H "If-None-Match: $tag"
is "$code $tag" "304 \"$(sha256sum <"$TMPDIR/logo" | cut -c 1-64)\"" "who has it is told so, by its hash"
ask "images/tiny/$logo" -I
is "$code $(sed -n 's/^Content-Length: //p' <<<"$head")" "200 $(stat -c %s "$TMPDIR/logo")" "HEAD"
object=$(sha256sum <"$TMPDIR/logo" | cut -c 1-64)
object=$site/objects/${object:0:2}/$object
printf '<html><script>   and' >"$TMPDIR/other"
for damaged in "$TMPDIR/other" /dev/null; do
	cp "$damaged" "$TMPDIR/damaged" && mv "$TMPDIR/damaged" "$object"
	ask "images/tiny/$logo"
	is "$code $type" "404 text/plain; charset=utf-8" "what is no picture of that size is not sent ($(stat -c %s "$object") of $(stat -c %s "$TMPDIR/logo") bytes)"
done
cp "$TMPDIR/logo" "$object"
ask "images/many.1/$logo"
is "$code" 404 "of no other image"

# What is not there: browsers get a page, other clients a line.
for target in no/such none objects/ab/cd images/none/ page/9/; do
	ask "$target" -H 'Accept: text/html,application/xhtml+xml,*/*;q=0.8'
	is "$code $type" "404 text/html; charset=utf-8" "/$target is missing, says a page"
	ok "which leads to the images" grep -q 'href="/">See all images<' "$page"
done
ask no/such
is "$code $(cat "$page")" "404 not found" "or a line"
ask catalog.rondo -H 'Accept: text/html'
ok "files are files" cmp "$page" "$site/catalog.rondo"

# What browsers are told.
ask images/tiny/
hash=$(python3 -c 'import base64, hashlib, re, sys
print(base64.b64encode(hashlib.sha256(re.search(r"<style>(.*?)</style>", open(sys.argv[1]).read(), re.S)[1].encode()).digest()).decode())' "$page")
ok "the policy names the style" grep -qF "Content-Security-Policy: default-src 'none'; style-src 'sha256-$hash'; img-src 'self'; script-src 'self';" "$TMPDIR/head"
like "$head" "; base-uri 'none'; frame-ancestors 'none'" "and who may frame it: nobody"
like "$head" "X-Content-Type-Options: nosniff" "no guesses"
tag=$(sed -n 's/^ETag: //p' <<<"$head")
ask images/tiny/ -H "If-None-Match: $tag"
is "$code" 304 "who has the page is told so"
ask images/tiny
is "$code $(sed -n 's/^Location: //p' <<<"$head")" "301 tiny/" "the slash behind a name is put there"
ask images/tiny/ -H 'Host: zoo.example' -H 'X-Forwarded-Proto: https'
ok "commands have the visitor's URL" grep -q "rondo run &#39;https://zoo.example/tiny:2@sha256:" "$page"
ok "links, too" grep -q 'href="rondo://zoo.example/tiny:2@sha256:' "$page"
for host in 'a"b' 'a/b' 'a;id' '<b>' 'a b'; do
	ask '' -H "Host: $host"
	is "$code" 400 "not $host"
done

# Search.
titles() { grep -o '<h2>[^<]*' "$page" | cut -c 5-; }
ask 'search?q=tin&os=&arch=&publisher=&max_size='
is "$(titles)" 'Tiny &lt;b&gt;' "a word's beginning"
ask 'search?q=number&os=Tiny+OS'
ok "with a filter: none" grep -q 'No image fits' "$page"
ask 'search?os=Many%20OS&sort=name'
is "$(titles | wc -l)" 20 "a filter alone"
ask 'search?arch=x86_64'
is "$(titles | wc -l)" 20 "a page of them"
next=$(grep -o 'rel="next" href="[^"]*' "$page" | cut -d '"' -f 4 | sed 's,&amp;,\&,g')
ask "$next"
is "$(titles | wc -l)" 1 "the rest behind it"
ok "and back" grep -q 'rel="prev"' "$page"
ask 'search?max_size=1'
ok "nothing is as small" grep -q 'No image fits' "$page"
ask 'search?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E%27'
is "$code $(grep -c '<script>' "$page")" "200 0" "a hostile word is text"
ask 'search?q=a&evil=1'
is "$code" 400 "unknown parameters are refused"
ask "search?q=$(head -c 300 /dev/zero | tr '\0' a)"
is "$code" 400 "long ones, too"

# What is not there.
for target in images/none/ images/TINY/ images/..%2f/ images// page/1/ page/3/ page/x/ page/2; do
	ask "$target"
	is "$code $type" "404 text/html; charset=utf-8" "not $target"
done
ask '' -X DELETE
is "${code:0:1}" 4 "pages are only read"
ask nothing.html
is "$code $type" "404 text/plain; charset=utf-8" "other files are as ever"
curl -sfo "$TMPDIR/catalog" "${url}catalog.rondo" || fail "and so is the catalog"
ok "which is whole" cmp "$TMPDIR/catalog" "$site/catalog.rondo"
done_testing
