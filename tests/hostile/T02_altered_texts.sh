#!/bin/bash
# T02: any altered byte of a catalog or of a manifest is noticed before anything is asked for that it names (arbitrary installation).
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign sqlite3

make_disk "$TMPDIR/disk" 2 1
must_publish image 1 "$TMPDIR/disk"
manifest=$out
"$BUILD/rondo" key new "$TMPDIR/other" 2>/dev/null >/dev/null

# What minisign's format does not sign, and nobody reads: the untrusted comment, and in the next line the key's id (a hint).
# Altered or not, the catalog is the same.
comment=$(grep -b '^untrusted comment: ' "$site/catalog.rondo")
comment_at=$((${comment%%:*} + 19)) comment=${comment#*:}
id_at=$((comment_at - 19 + ${#comment} + 3)) # after the new line and most of "ED" in base64
unsigned=($(seq "$comment_at" $((id_at - 4))) $(seq "$id_at" $((id_at + 11))))

# A site of its own for each altered byte: cat/N has byte N of the catalog wrong, man/N byte N of the manifest. One bit is flipped,
# another one at the next byte.
python3 - "$site" "$TMPDIR/altered" "$manifest" <<'END'
import os, sys
site, out, manifest = sys.argv[1:]
inside = os.path.join("objects", manifest[:2], manifest)
texts = {"cat": "catalog.rondo", "man": inside}
for kind, path in texts.items():
    with open(os.path.join(site, path), "rb") as f:
        good = f.read()
    for i, byte in enumerate(good):
        folder = os.path.join(out, kind, str(i))
        os.makedirs(os.path.join(folder, os.path.dirname(inside)))
        for one, source in ((path, good[:i] + bytes([byte ^ 1 << i % 8]) + good[i + 1:]), ("", b"")):
            if one:
                with open(os.path.join(folder, one), "wb") as f:
                    f.write(source)
        if kind == "man":
            os.link(os.path.join(site, "catalog.rondo"), os.path.join(folder, "catalog.rondo"))
END
site_before=$site
attack "$TMPDIR/altered"
pull_all() { # KIND: prints each exit code other than 5
	find "$TMPDIR/altered/$1" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n |
		xargs -P 3 -I {} sh -c '"$0" pull "$1{}/image" >"$2/out.{}" 2>"$2/err.{}"; [ $? -eq 5 ] || echo "{}: $?"' \
			"$BUILD/rondo" "$url$1/" "$TMPDIR/answers"
}
mkdir "$TMPDIR/answers"
rules
size=$(stat -c %s "$site/catalog.rondo")
for i in "${unsigned[@]}"; do rm -r "$TMPDIR/altered/cat/$i"; done
altered=$(ls "$TMPDIR/altered/cat" | wc -l)
is "$altered" $((size - ${#unsigned[@]})) "all signed bytes of the catalog are altered"
is "$(pull_all cat)" "" "each of $altered bytes of the catalog altered: exit code 5"
is "$(requests objects)" 0 "and nothing that it names was asked for"
is "$(cat "$TMPDIR"/answers/out.* | wc -c)" 0 "nothing is printed as pulled"
is "$(grep -L 'catalog of ' "$TMPDIR"/answers/err.* | wc -l)" 0 "the message says that it is the catalog"
is "$(grep -l 'remembered' "$TMPDIR"/answers/err.* | wc -l)" 0 "no key was remembered"
rules
rm -f "$TMPDIR"/answers/*
is "$(pull_all man)" "" "each of the $(ls "$TMPDIR/altered/man" | wc -l) bytes of the manifest altered: exit code 5"
is "$(requests objects | grep -vc "$manifest")" 1 "nothing else was asked for"
is "$(grep /objects/ "$requests" | grep -vc "$manifest")" 0 "no pack was asked for"
is "$(find "$RONDO_CACHE" -type f | grep -c "$manifest")" 0 "none is in the cache"

# The same at a site that is known: what is remembered stays.
forget
attack "$site_before"
run_rondo pull "${url}image"
status_is 0 "the unaltered site"
codes=''
for i in $(ls "$TMPDIR/altered/cat" | shuf -n 20 --random-source=<(yes)); do
	rules "/catalog.rondo stale from=$TMPDIR/altered/cat/$i"
	run_rondo pull "${url}image"
	codes+=$status
done
like "$codes" '^5+$' "a known site's altered catalog: exit code 5"
run_rondo inspect --offline "${url}image"
status_is 0 "offline the remembered one serves"
for length in 0 1 50 $((size - 1)); do
	rules "/catalog.rondo truncate to=$length"
	run_rondo pull "${url}image"
	status_is 5 "a catalog of which $length bytes are left"
done
mkdir "$TMPDIR/longer"
(cat "$site/catalog.rondo" && echo more) >"$TMPDIR/longer/catalog.rondo"
rules "/catalog.rondo stale from=$TMPDIR/longer"
run_rondo pull "${url}image"
status_is 5 "a catalog with more lines behind it"

# Somebody signs it with a key of their own.
cp -r "$site" "$TMPDIR/mine"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/mine" "$TMPDIR/other"
rules "/catalog.rondo stale from=$TMPDIR/mine"
withstands "T02 altered catalog: signed by somebody else, but in the site's name" 5 'catalog of .*127\.0\.0\.1' 'catalog\.rondo' rondo pull "${url}image"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/mine" "$TMPDIR/other" --catalog '^(site \S+) \S+$' \
	"site site $("$BUILD/rondo" key show "$TMPDIR/other")"
withstands "T02 altered catalog: signed by somebody else, in their own name" 5 'key of .* has changed' 'catalog\.rondo' rondo pull "${url}image"
rules
run_rondo pull "${url}image"
status_is 0 "the true one is accepted as before"

# A manifest that is signed by a key that may not publish this name.
cp -r "$site" "$TMPDIR/foreign"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/foreign" "$TMPDIR/key" --manifest-key "$TMPDIR/other" \
	--manifest image:1 '^publisher .*$' "publisher $("$BUILD/rondo" key show "$TMPDIR/other")"
attack "$TMPDIR/foreign"
run_rondo pull "${url}image"
status_is 5 "a manifest of a publisher who may not: exit code 5"
like "$err" 'may not publish' "and told so"
is "$(requests objects)" 1 "no pack was asked for"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/foreign" "$TMPDIR/key" --catalog '^image' \
	"key $("$BUILD/rondo" key show "$TMPDIR/other") imag\nimage"
run_rondo pull "${url}image"
status_is 5 "a key for another name, of which this is only a beginning: exit code 5"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/foreign" "$TMPDIR/key" --catalog '^key (\S+) imag$' \
	"key $("$BUILD/rondo" key show "$TMPDIR/other") image"
run_rondo pull "${url}image"
status_is 0 "a key for this name: accepted"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/foreign" "$TMPDIR/key" --catalog '^key' \
	"revoke $("$BUILD/rondo" key show "$TMPDIR/other")\nkey"
run_rondo pull "${url}image"
status_is 5 "that key revoked: exit code 5, although it is in the cache"
run_rondo inspect --offline "${url}image"
status_is 5 "and offline, since the revocation was seen"
done_testing
