#!/bin/bash
# The versions of an image: its history, listed at the price of manifests and map pages; every form of address that names one of them.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign

versions=32
head -c 400000 /dev/urandom >"$TMPDIR/disk"
for ((v = 1; v <= versions; v++)); do
	change_disk "$TMPDIR/disk" $((v * 8192)) 4096
	must_publish image "1.$v" "$TMPDIR/disk" --title "Number $v" --tag "$([ "$v" -le 3 ] && echo old || echo new)"
	manifests[v]=$out
done
must_publish other 1 "$TMPDIR/disk"
attack

field() { # JSON-PATH-EXPRESSION: of the list in $out
	python3 -c 'import json, sys; l = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1" <<<"$out"
}

# All of them, newest first.
run_rondo history "${url}image" --json
status_is 0 "history"
is "$(field 'len(l)')" "$versions" "lists every version"
is "$(field '[e["serial"] for e in l] == list(range(len(l), 0, -1))')" True "newest first"
is "$(field '{e["name"] for e in l}')" "{'image'}" "of that name alone"
is "$(field 'l[0]["version"], l[0]["tags"], l[0]["title"]')" "('1.$versions', 'latest, new', 'Number $versions')" "with tags and title"
is "$(field '[e["version"] for e in l if "old" in e["tags"]]')" "['1.3']" "another tag at its version"
is "$(field 'l[0]["publisher"]')" "$("$BUILD/rondo" key show "$TMPDIR/key")" "and publisher"
is "$(field 'l[0]["manifest"]')" "${manifests[versions]}" "and manifest"
is "$(field 'all(e["created"].startswith("20") for e in l)')" True "and date"
is "$(field 'l[-1]["new_bytes"] == l[-1]["stored_bytes"] > 390000')" True "of the first version all is new"
is "$(field 'all(4096 < e["new_bytes"] < 16384 for e in l[:-1])')" True "of each other one a block, and the map"
new=$(field 'l[0]["new_bytes"]')
all=$(field 'l[-1]["stored_bytes"]')
is "$(field 'all("error" not in e for e in l)')" True "nothing is wrong"
ok "at most a manifest and three pieces of the map for each, and the catalog: $(requests)" [ "$(requests)" -le $((4 * versions + 1)) ]
run_rondo diff "${url}image:1.$((versions - 1))" "${url}image" --json
is "$(json fetch_bytes)" "$new" "what is new is what diff says"
rules
run_rondo history "${url}image" --json
is "$status $(requests)" "0 0" "again, nothing is asked for"
run_rondo pull "${url}image:1.7"
run_rondo history "${url}image"
is "$(awk '/ yes / { print $1 }' <<<"$out")" "1.7" "a pulled version is shown"
like "$out" "^VERSION +SERIAL +CREATED +PUBLISHER +SIZE +NEW +PULLED +TAGS +TITLE" "a table"
like "$out" "1\.3 .* no +old +Number 3" "with a line for each"
forget
RONDO_SITE=$url run_rondo pull image:1.1
rules
run_rondo history "${url}image:1.1" --json
is "$(field 'len(l), l[0]["version"], l[0]["stored_bytes"]')" "(1, '1.1', $all)" "an address with a version begins there"

# Bounded.
forget
rules
run_rondo history "${url}image" --limit 4 --json
is "$(field 'len(l)')" 4 "--limit"
ok "asks for no more than it needs: $(requests)" [ "$(requests)" -le 21 ]
like "$err" "4 of 32 versions are shown, the newest; --limit 32 shows all" "and says what it left out"
run_rondo history "${url}image:1.3" --limit 2 --json
is "$(field '[e["version"] for e in l]')" "['1.3', '1.2']" "--limit from a version on"
is "$(field 'l[1]["new_bytes"] < 16384')" True "the last line, too, is compared with the version before"

# Offline, and with what cannot be had.
rules '* status code=500'
run_rondo history "${url}image" --offline --json
status_is 0 "--offline"
is "$(requests)" 0 "asks for nothing"
is "$(field '[e["version"] for e in l if "error" not in e]')" "['1.$versions', '1.$((versions - 1))', '1.$((versions - 2))', '1.$((versions - 3))', '1.3', '1.2', '1.1']" \
	"and shows what it has"
is "$(field 'all("not whole, in the cache" in e["error"] or "cannot be told without" in e["error"] for e in l if "error" in e)')" True \
	"each other line says why"
rules
forget
m=${manifests[20]}
rules "/objects/${m:0:2}/$m status code=404"
run_rondo history "${url}image"
status_is 0 "a manifest that is missing"
is "$(wc -l <<<"$out")" $((versions + 1)) "costs no line"
like "$out" "1\.20 +20 +- +- +- +- +no .*image 1\.20: " "its own says why"
like "$out" "1\.21 +21 +20[0-9TZ:-]+ +[^ ]+ +[0-9.]+ [KM]iB +- +no .*without 1\.20" "and the next one what cannot be told"
forget
rules "/objects/${m:0:2}/$m flip"
run_rondo history "${url}image" --json
is "$status $(field '[e["version"] for e in l if "created" not in e]')" "0 ['1.20']" "one that is altered is not believed"
rules
forget
run_rondo inspect "${url}image"
rules '* status code=503'
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 1" >"$XDG_CONFIG_HOME/rondo/config"
run_rondo history "${url}image" --limit 5
status_is 0 "a site that fails"
rm "$XDG_CONFIG_HOME/rondo/config"
like "$out" "1\.$versions +$versions +20[^ ]+ +[^ ]+ +[0-9.]+ KiB +- .*without 1\.$((versions - 1))" "what is in the cache is shown"
m=${manifests[versions - 1]}
is "$(grep -o '/objects/[^ ]*' "$requests" | grep -v "$m" | wc -l)" 0 "after its first failure it is not asked for the next one"
rules
run_rondo history "${url}none"
status_is 3 "no such image: exit code 3"
run_rondo history "${url}image:none"
status_is 3 "no such version: exit code 3"

# Addresses.
forget
check() { # ADDRESS VERSION
	run_rondo inspect "$1" --json
	[ "$status" -eq 0 ] && [ "$(json version)" = "1.$2" ] || fail "$1 is 1.$2, not: $out$err"
}
key=$("$BUILD/rondo" key show "$TMPDIR/key")
check "${url}image" "$versions"
check "${url}image:latest" "$versions"
check "${url}image:old" 3
check "${url}image:1.1" 1
check "${url}image@sha256:${manifests[5]}" 5
check "${url}image:1.5@sha256:${manifests[5]}" 5
check "${url}image:old@sha256:${manifests[3]}#$key" 3
check "${url}image:1.9#$key" 9
check "$site/image:1.2" 2
RONDO_SITE=$url check image:1.4 4
RONDO_SITE=$url check "image@sha256:${manifests[6]}" 6
pass "each form of address names its version"
run_rondo inspect "${url}image:1.5@sha256:${manifests[6]}"
status_is 5 "a version and another one's hash: exit code 5"
run_rondo inspect "${url}image@sha256:${manifests[6]/[0-9a-f]/x}"
status_is 2 "a hash that is none: exit code 2"
run_rondo inspect "${url}other@sha256:${manifests[6]}"
status_is 3 "another image's hash: exit code 3"

# Versions that are withdrawn.
run_rondo withdraw "$site" image 1.5 --key "$TMPDIR/key"
status_is 0 "withdraw"
run_rondo inspect "${url}image:1.5"
status_is 3 "a withdrawn version is not found"
run_rondo inspect "${url}image@sha256:${manifests[5]}"
status_is 3 "by its hash neither"
run_rondo history "${url}image" --json
is "$status $(field 'len(l)')" "0 $((versions - 1))" "history goes on without it"
is "$(field '[e["new_bytes"] > 4096 * 2 for e in l if e["version"] == "1.6"]')" "[True]" "the next one is compared with the one before"
for refused in "1.$versions:bears the tag latest" '1.3:bears the tag old' 'none:versions: 1.1' 'old:is a tag'; do
	run_rondo withdraw "$site" image "${refused%%:*}" --key "$TMPDIR/key"
	[ "$status" -ne 0 ] && [[ $err == *"${refused#*:}"* ]] || fail "withdraw ${refused%%:*}: $status $err"
done
ok "the site is whole" check_site "$site"
done_testing
