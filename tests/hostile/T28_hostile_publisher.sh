#!/bin/bash
# T28: a validly signed catalog or manifest may say anything: sizes, names, hashes and paths that cannot be right are refused, in bounded
# time and memory, with exit code 5 and a line that says where.
# time-limit: 400
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign

make_disk "$TMPDIR/disk" 2 1
must_publish image 1 "$TMPDIR/disk"
good=$site
mkdir "$TMPDIR/forged"
attack "$TMPDIR/forged"
all=$url
number=0
forged() { # FORGE-ARGUMENT…: a site of its own, in the folder $site, at $url
	number=$((number + 1))
	site=$TMPDIR/forged/$number
	url=$all$number/
	cp -r "$good" "$site"
	python3 "$ROOT/tests/hostile/forge.py" "$site" "$TMPDIR/key" "$@" || bail_out "a site can be forged"
}
refused() { # WHAT MESSAGE FORGE-ARGUMENT…
	local what=$1 message=$2
	shift 2
	forged "$@"
	run bash -c 'ulimit -d 131072; exec timeout 20 "$@"' - "$BUILD/rondo" pull "${url}image" # in 128 MiB
	status_is 5 "$what"
	like "$err" "$message" "$what: the message"
	unlike "$(LC_ALL=C tr -d '\n\t\200-\377' <<<"$err")" '[[:cntrl:]]' "$what: no control characters in it"
}
manifest() { # WHAT PATTERN REPLACEMENT
	refused "manifest: $1" '(manifest|image)' --manifest image:1 "$2" "$3"
	local name
	name=$(awk '/^image/ { print $5 }' "$site/catalog.rondo")
	printf 'GET /%s - serve\n' "$number/catalog.rondo" "$number/objects/${name:0:2}/$name" >>"$TMPDIR/may_be_asked"
}
catalog() { # WHAT PATTERN REPLACEMENT
	refused "catalog: $1" 'catalog' --catalog "$2" "$3"
	echo "GET /$number/catalog.rondo - serve" >>"$TMPDIR/may_be_asked"
}
zeros64=$(printf '%064d' 0)
long=$(printf '%01500d' 0)

# Control: what forge.py makes is accepted if nothing is wrong with it.
forged --manifest image:1 '^arch x86_64$' 'arch x86_64' --catalog '^tag image latest 1$' 'tag image latest 1'
run_rondo pull "${url}image"
status_is 0 "a forged site without a fault is accepted"
forged --manifest image:1 '\Z' 'opt-future something\n'
run_rondo pull "${url}image"
status_is 0 "an opt- line is ignored"

rules
manifest "another version of the format" '^rondo-manifest 1' 'rondo-manifest 2'
manifest "an empty text" '(?s)\A.*\Z' ''
manifest "another name" '^name image' 'name other'
manifest "another version" '^version 1' 'version 2'
manifest "another serial" '^serial 1' 'serial 2'
manifest "serial 0" '^serial 1' 'serial 0'
manifest "a serial over 2^63" '^serial 1' 'serial 9223372036854775808'
manifest "a serial with a leading zero" '^serial 1' 'serial 01'
manifest "a path for a name" '^name image' 'name ../../etc/passwd'
manifest "an escape sequence in the name" '^name image' 'name \x1b[31mred'
manifest "an escape sequence in the title" '\Z' 'title \x1b]0;owned\x07\n'
manifest "a bidirectional override in the title" '\Z' 'title a\xe2\x80\xaeb\n'
manifest "not UTF-8 in the title" '\Z' 'title \xff\xfe\n'
manifest "NUL in the title" '\Z' 'title a\x00b\n'
manifest "CR in the title" '\Z' 'title a\x0db\n'
manifest "too long a title" '\Z' "title $long\\n"
manifest "an unknown line" '\Z' 'execute rm -rf\n'
manifest "a line twice" '^version 1' 'version 1\nversion 1'
manifest "lines in another order" '^version 1\nserial 1' 'serial 1\nversion 1'
manifest "no publisher" '^publisher .*\n' ''
manifest "a publisher that is no key" '^publisher .*' "publisher $zeros64"
manifest "a publisher of small order" '^publisher .*' 'publisher AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
manifest "another architecture" '^arch x86_64' 'arch ../x'
manifest "created before time" '^created .*' 'created -1'
manifest "created on a day that is none" '^created .*' 'created 2026-02-30T00:00:00Z'
manifest "a parent that is no hash" '^created' 'parent ../../x\ncreated'
manifest "a parent in upper case" '^created' "parent $(printf '%064d' 0 | tr 0 A)\\ncreated"
manifest "memory of 2^64" '\Z' 'memory 18446744073709551616\n'
manifest "memory that is none" '\Z' 'memory lots\n'

manifest "a member of 2^63 bytes" '^member disk \d+' 'member disk 9223372036854775808'
manifest "a member of 2^64 - 1 bytes" '^member disk \d+' 'member disk 18446744073709551615'
manifest "a member of 16 TiB and a byte" '^member disk \d+' 'member disk 17592186044417'
manifest "a member of another size than its map" '^member disk \d+' 'member disk 1099511627776'
manifest "a member of no bytes, with a map" '^member disk \d+' 'member disk 0'
manifest "a member called .." '^member disk ' 'member .. '
manifest "a member with a slash in its name" '^member disk ' 'member a/b '
manifest "a member of which the name is too long" '^member disk ' 'member aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa '
manifest "a member called manifest" '^member disk ' 'member manifest '
manifest "a member without a map" '^(member disk \d+) .*' 'member disk 4096 '
manifest "a member twice" '^(member disk .*)' 'member disk 4096 -\nmember disk 4096 -'
manifest "nine members" '^member' "$(for i in 1 2 3 4 5 6 7 8; do printf 'member m%d 4096 -\\n' "$i"; done)member"
manifest "a pack that is a path" '^member disk (\d+) \w+,\w+' "member disk 2097152 $zeros64,../../../etc/passwd"
manifest "a page that is not there" '^member disk (\d+) \w+' "member disk 2097152 $zeros64"
absent=$number # who looks asks for it
manifest "a page at another offset" ',8,(\d+)$' ',9,1000'
manifest "a page behind its pack" ',8,(\d+)$' ',4000000000,1000'
manifest "an offset over 2^32" ',8,(\d+)$' ',4294967296,1000'
manifest "a page of no bytes" ',8,(\d+)$' ',8,0'
manifest "a page of 4 GiB" ',8,(\d+)$' ',8,4294967295'
manifest "a pack of 4 GiB" '^(member disk \d+ )\w+,\w+,\d+' "member disk 2097152 $zeros64,$zeros64,4294967295"
manifest "too few fields of a map" ',8,(\d+)$' ',8'
manifest "too many fields of a map" ',8,(\d+)$' ',8,100,3'
manifest "a boot pack that is none" '\Z' 'boot ../../x 5\n'
manifest "a boot pack of 4 GiB" '\Z' "boot $zeros64 4294967295\\n"
manifest "65 boot packs" '\Z' "$(for i in {1..65}; do printf 'boot %064d 5000\\n' "$i"; done)"
manifest "a logo that is a path" '\Z' 'opt-logo ../../x 5 png\n'
manifest "a logo of 4 GiB" '\Z' "opt-logo $zeros64 4294967295 png\\n"
manifest "a logo that is a program" '\Z' "opt-logo $zeros64 5 svg\\n"
manifest "a port that is none" '\Z' 'opt-port 65536 web\n'
manifest "17 ports" '\Z' "$(for i in {1..17}; do printf 'opt-port %d x\\n' "$i"; done)"
manifest "a description over 16 KiB" '\Z' "$(for _ in {1..11}; do printf 'opt-description %s\\n' "$long"; done)"
manifest "over 64 KiB" '\Z' "$(for _ in {1..50}; do printf 'opt-x %s\\n' "$long"; done)"

catalog "another version of the format" '^rondo-catalog 1' 'rondo-catalog 2'
catalog "an empty text" '(?s)\A.*\Z' ''
catalog "no id" '^id .*\n' ''
catalog "an id that is short" '^id ..' 'id '
catalog "a number over 2^63" '^number .*' 'number 9223372036854775808'
catalog "a number that is negative" '^number .*' 'number -1'
catalog "expires before it was issued" '^expires .*' 'expires 1999-01-01T00:00:00Z'
catalog "no expiry" '^expires .*\n' ''
catalog "an expiry in the year 10000" '^expires .*' 'expires 10000-01-01T00:00:00Z'
catalog "an escape sequence in the site's name" '^site \S+' 'site \x1b[2J'
catalog "a path for an image's name" '^image image' 'image ../../x'
catalog "an empty name" '^image image' 'image '
catalog "a name of 65 letters" '^image image' "image $(printf '%065d' 0)"
catalog "a version with a slash" '^image image 1' 'image image a/b'
catalog "a manifest that is a path" '^(image image 1 1) .*' 'image image 1 1 ../../../../etc/passwd'
catalog "a manifest in upper case" '^(image image 1 1) .*' "image image 1 1 $(printf '%064d' 0 | tr 0 A)"
catalog "a manifest of 63 digits" '^(image image 1 1 \w{63})\w' "image image 1 1 ${zeros64:1}"
catalog "a manifest that is percent-encoded" '^(image image 1 1) .*' 'image image 1 1 %2e%2e%2f%2e%2e%2fetc%2fpasswd'
catalog "a manifest with NUL behind it" '^(image image 1 1 \w+)' "image image 1 1 $zeros64\\x00"
catalog "an image twice" '^image .*' "image image 1 1 $zeros64\\nimage image 1 2 $zeros64"
catalog "images out of order" '^image' "image zebra 1 1 $zeros64\\nimage"
catalog "a tag of nothing" '^tag image latest 1' 'tag image latest 9'
catalog "a tag that is a version" '^tag image latest 1' 'tag image 1 1'
catalog "a mirror that is a file" '^image' 'mirror file:///etc/\nimage'
catalog "a mirror with a password" '^image' 'mirror http://a:b@host/\nimage'
catalog "17 mirrors" '^image' "$(for i in {10..26}; do printf 'mirror http://m%d/\\n' "$i"; done)image"
catalog "a shard that is a path" '^image .*\ntag .*' 'shard ../ 0 5'
catalog "a shard that is too long" '^image .*\ntag .*' "shard 00 $zeros64 4294967295"
catalog "an unknown line" '\Z' 'run rm -rf\n'
catalog "over its limit" '\Z' "$(for _ in {1..60}; do printf 'opt-x %s\\n' "$long"; done)"

# What all of that has left.
like "$(grep -vxFf "$TMPDIR/may_be_asked" "$requests")" "^GET /$absent/objects/[0-9a-f/]+ bytes=8-[0-9]+ serve\$" "nothing that a bad text names was asked for, but the page that is not there"
is "$(ls "$RONDO_CACHE/pins" | wc -l)" 2 "nothing is pinned but what the controls pulled"

forged --catalog '^(image image 1 1) .*' "image image 1 1 $zeros64"
run_rondo pull "${url}image"
status_is 3 "a manifest that is not there: exit code 3"
like "$err" "$(printf '%012d' 0)" "it is named"

# 10 MB, where a catalog or a manifest should be.
forged
head -c 10000000 /dev/zero | tr '\0' 'x' >"$site/catalog.rondo"
run_rondo pull "${url}image"
status_is 5 "a catalog of 10 MB: exit code 5"
forged
object=$(find "$site/objects" -name "$(awk '/^image/ { print $5 }' "$site/catalog.rondo")")
head -c 10000000 /dev/zero | tr '\0' 'x' >"$object"
run_rondo pull "${url}image"
status_is 5 "a manifest of 10 MB: exit code 5"

done_testing
