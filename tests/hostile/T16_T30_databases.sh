#!/bin/bash
# T16: the trust database, the client's only SQLite database, is damaged, or somebody else's: nothing in it is believed, it is moved
# aside with a warning, and all is learned anew. (The cache has no index: what is in it is found in its folders, and hashed.) T30: no
# address and no name, whatever it looks like, changes that database. (A server's index: T30_search.sh.)
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

make_disk "$TMPDIR/disk" 2 1
must_publish image 1 "$TMPDIR/disk"
key=$("$BUILD/rondo" key show "$TMPDIR/key")
attack
run_rondo pull "${url}image"
status_is 0 "a site is known"
cp -r "$RONDO_HOME" "$TMPDIR/known"
database=$RONDO_HOME/trust.db

# damage KIND: of what is known
damage() {
	rm -rf "$RONDO_HOME"
	cp -r "$TMPDIR/known" "$RONDO_HOME"
	python3 - "$database" "$1" <<'END'
import os, sqlite3, sys
path, kind = sys.argv[1:]
sql = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON seen BEGIN UPDATE site SET key = zeroblob(32); END",
    "view": "DROP TABLE serials; CREATE VIEW serials AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT x FROM n",
}
size = os.path.getsize(path)
if kind in sql:
    db = sqlite3.connect(path)
    db.executescript(sql[kind])
    db.close()
elif kind == "bla":
    open(path, "w").write("bla\n")
elif kind == "cut":
    os.truncate(path, size // 2 + 100)
elif kind == "random":
    open(path, "r+b").write(os.urandom(size))
elif kind == "journal":
    open(path, "wb").write(bytes(size))
    open(path + "-journal", "wb").write(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + os.urandom(5000))
END
}
sums() {
	(cd "$RONDO_HOME" && find . -name "$1" -type f -size -10M -exec sha256sum {} + | cut -d ' ' -f 1)
}
for kind in bla cut random trigger view journal; do # test_trust.c has more
	damage "$kind"
	was=$(sums trust.db)
	rules
	measure "$BUILD/rondo" pull "${url}image"
	status_is 0 "$kind: pull"
	like "$err" "trust.db was damaged and is now .*trust.db.damaged-[0-9a-f]{8}; .*learned anew" "$kind: the damage is told"
	like "$err" "first contact with $url, whose key is $key" "$kind: the key is learned anew, aloud"
	is "$(sums 'trust.db.damaged-????????')" "$was" "$kind: what was there is kept, as it was"
	is "$(requests)" "$(requests 'GET /catalog')" "$kind: nothing but the catalog is asked for, all else is in the cache"
	ok "$kind: in bounded memory ($peak KiB) and time ($seconds s)" [ "$peak" -lt 65536 -a "$seconds" -lt 10 ]
	run_rondo pull "${url}image"
	unlike "$status $err" 'damaged|first contact|^[^0]' "$kind: once"
done

# What is no file of this user's, or not to be understood, is left where it is: whoever put it there knows why.
left() { # KIND CODES MESSAGE
	rules
	measure "$BUILD/rondo" pull "${url}image"
	like "$status" "^($2)\$" "$1: refused"
	like "$err" "$3" "$1: with a reason"
	is "$(requests)" 0 "$1: nothing is asked of anybody"
	ok "$1: in bounded memory ($peak KiB) and time ($seconds s)" [ "$peak" -lt 65536 -a "$seconds" -lt 10 ]
}
damage bla
mv "$database" "$TMPDIR/elsewhere"
ln -s "$TMPDIR/elsewhere" "$database"
left link 9 'trust.db: it is not a file of yours'
is "$(cat "$TMPDIR/elsewhere")" bla "link: what it points to is as it was"
rm "$database" && mkdir "$database"
left folder 9 'trust.db: it is not a file of yours'
rmdir "$database" && mkfifo "$database"
left pipe 9 'trust.db: it is not a file of yours'
damage newer
python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript("PRAGMA user_version = 1000000")' "$database"
was=$(sums trust.db)
left newer 9 'newer rondo'
is "$(sums trust.db)" "$was" "newer: it is as it was"

# T30. (test_trust_database.c has more words.) Only folders may have such names; a URL is refused before anything is looked up.
rm -rf "$RONDO_HOME"
cp -r "$TMPDIR/known" "$RONDO_HOME"
mkdir "$TMPDIR/sites"
cd "$TMPDIR/sites" || exit 1
schema() {
	python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for row in db.execute("SELECT sql FROM sqlite_schema ORDER BY name"): print(*row)
for row in db.execute("SELECT address, hex(key), pinned FROM site ORDER BY address"): print(*row)' "$database"
}
before=$(schema)
for word in "'; DROP TABLE site;--" "x' UNION SELECT sql FROM sqlite_schema--" '" NEAR(a b)* %27?1:x@y$z'; do
	cp -r "$site" "./$word"
	run_rondo inspect "./$word/image"
	result=$status
	run_rondo ls "./$word"
	result+=" $status"
	run_rondo trust log "./$word"
	result+=" $status "
	run_rondo trust ls --json
	result+=$(python3 -c 'import json, sys; print([e["site"] for e in json.load(sys.stdin)].count(sys.argv[1]))' "$PWD/$word/" <<<"$out")
	run_rondo trust rm "./$word"
	is "$result $status" "0 0 0 1 0" "a site called $word: looked at, listed once, removed"
	is "$(schema)" "$before" "and the database is what it was"
	run_rondo inspect "${url}$word"
	status_is 2 "as an image's name it is refused"
	run_rondo trust add "${url}$word/" "$key"
	status_is 2 "and in a URL"
done
is "$(schema)" "$before" "which changes nothing either"
ok "the database is sound" rondo fsck
run_rondo search "'; DROP TABLE site;--" --site "$site"
status_is 3 "nor does a search for them"
done_testing
