#!/bin/bash
# T30: whatever is searched for in a server's index is words: it answers or refuses, in bounded time, and neither the index's schema nor
# its rows are another afterwards. (unit/test_index.c has more words; hostile/T16_T30_databases.sh is about the client's database.)
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need curl python3 perl

make_disk "$TMPDIR/disk" 1 1
must_publish image 1 "$TMPDIR/disk" --title 'An image'
database=$TMPDIR/state/index/index.db
start_process server rondo-server --listen 127.0.0.1:0 --state "$TMPDIR/state" "$site"
wait_until 20 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "the server starts"
url=$(sed -n 's/^listening on //p' "$TMPDIR/server.log")
rows() {
	python3 -c '
import hashlib, sqlite3, sys
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
text = [db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()]
text += [db.execute("SELECT * FROM " + t + " ORDER BY 1, 2").fetchall() for t in ("site", "version", "image", "facet", "words")]
print(hashlib.sha256(repr(text).encode()).hexdigest())' "$database"
}
before=$(rows)
like "$before" '^[0-9a-f]{64}$' "the index has its tables"
while IFS= read -r word; do
	result=
	for field in q os arch publisher sort max_size limit; do
		result+=$(curl -sS --max-time 10 -o "$TMPDIR/body" -w '%{http_code}' --get --data-urlencode "$field=$word" "${url}api/v1/search")
		result+=" "
	done
	like "$result" '^((200|400) ){7}$' "$word: answered or refused"
done <<'END'
'; DROP TABLE image; --
x' UNION SELECT sql FROM sqlite_schema --
"; DELETE FROM version; --
') OR 1=1 --
"image" OR "x"
NEAR(image x, 1)
NEAR(
{name title} : image
name:image*
^image AND NOT (
"unterminated
image" *
*
?1 ?2 :x @y $z %s %n
words MATCH rank
INSERT INTO words(words) VALUES('delete-all')
load_extension('x')
ATTACH '/tmp/x' AS y
END
for raw in 'q=%00' 'q=image%00x' 'q=%ff%fe' 'q=%27%3b' "q=$(printf '%%22%.0s' {1..250})" "q=$(printf 'a+%.0s' {1..128})" "q=$(printf 'a%.0s' {1..3000})" \
	'q[]=x' 'q=x&q=y' '=x' '&&&' 'version=%27' "publisher=%27%20OR%201"; do
	like "$(curl -sS --max-time 10 -o /dev/null -w '%{http_code}' --globoff "${url}api/v1/search?$raw")" '^(200|400|404)$' "${raw:0:40}: the same"
done
for name in "'" 'image%27' 'image%00' '..%2f..' 'image%2fversions' 'x;y'; do
	is "$(curl -sS --max-time 10 -o /dev/null -w '%{http_code}' --path-as-is "${url}api/v1/images/$name")" 404 "an image called $name: there is none"
done
is "$(rows)" "$before" "schema and rows are what they were"
is "$(curl -s "${url}api/v1/search?q=image" | grep -c '"all": 1')" 1 "and the server goes on"
unlike "$(cat "$TMPDIR/server.log")" 'system call|damaged' "without a word"
done_testing
