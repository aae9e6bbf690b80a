#!/bin/bash
# What a page about a version shows: description, logo and ports are published, taken over by a commit, and go wherever the version's
# objects go; what cannot be right is refused before anything is made.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/stopped_machine.sh"
need qemu-system-x86_64 jq python3 minisign
need_fuse

make_disk "$TMPDIR/disk" 2 1
png() { # FILE BYTES: what is a PNG by its first bytes
	{
		printf '\x89PNG\r\n\x1a\n'
		head -c "$(($2 - 8))" /dev/urandom
	} >"$1"
}
png "$TMPDIR/logo" 524288
png "$TMPDIR/large" 524289
png "$TMPDIR/other" 100
printf '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>' >"$TMPDIR/svg"
printf '# Small\r\n\n\tcode\n - <script>\nend' >"$TMPDIR/text"
field() {
	run_rondo inspect "$1" --json
	json "$2"
}
object() {
	echo "$1/objects/${2:0:2}/$2"
}

refused() { # WHAT MESSAGE OPTION…
	local what=$1 message=$2
	shift 2
	publish image 0 "$TMPDIR/disk" "$@"
	[[ $status -ne 0 && $err == *"$message"* && ! -e $site/catalog.rondo ]]
	is $? 0 "refused: $what" || diag "$status $err"
}
printf 'a\033[31mb\n' >"$TMPDIR/escape"
printf 'good\na\xe2\x80\xaeb\n' >"$TMPDIR/bidi"
yes x | head -n 513 >"$TMPDIR/lines"
head -c 16384 /dev/zero | tr '\0' 'a' | fold -w 1000 >"$TMPDIR/long"
head -c 4081 /dev/zero | tr '\0' a >"$TMPDIR/line"
refused "a logo that is no file" "cannot read $TMPDIR/none" --logo "$TMPDIR/none"
refused "a folder for a logo" "is not a regular file" --logo "$TMPDIR"
refused "an SVG" "neither a PNG nor a JPEG" --logo "$TMPDIR/svg"
refused "a logo over 512 KiB" "larger than 512 KiB" --logo "$TMPDIR/large"
refused "a description with an escape sequence" "line 1 of $TMPDIR/escape holds control" --description "$TMPDIR/escape"
refused "one that changes the direction of writing" "line 2 of $TMPDIR/bidi holds" --description "$TMPDIR/bidi"
refused "one of binary bytes" "line" --description "$TMPDIR/other"
refused "one of 513 lines" "more than 512 lines" --description "$TMPDIR/lines"
refused "one over 16 KiB" "longer than 16384 bytes" --description "$TMPDIR/long"
refused "one with a line over 4,080 bytes" "line 1 of $TMPDIR/line is longer than 4080" --description "$TMPDIR/line"
for port in 80 0:web 65536:web http:80 80: "80: web" 80:"$(printf '%033d' 0)" $'80:\033[31m'; do
	refused "port $(printf %q "$port")" "NUMBER:NAME" --show-port "$port"
done
refused "a port twice" "port 80 twice" --show-port 80:a --show-port 80:b

must_publish image 1 "$TMPDIR/disk" --description "$TMPDIR/text" --logo "$TMPDIR/logo" --show-port 80:"web server" --show-port 22:ssh
logo=$(sha256sum <"$TMPDIR/logo" | cut -d' ' -f1)
is "$(field "$site/image" ports)" "80 web server, 22 ssh" "ports are published"
is "$(field "$site/image" logo)" "$logo" "and the logo's hash"
is "$(field "$site/image" description)" $'# Small\n\n    code\n - <script>\nend' "and the description, line by line"
run_rondo inspect "$site/image"
is "$(grep -c '^description ' <<<"$out")" 5 "people see it line by line, too"
ok "the logo is an object of the site" cmp "$TMPDIR/logo" "$(object "$site" "$logo")"
manifest=$(field "$site/image" manifest)
is "$(grep -ac '^opt-' "$(object "$site" "$manifest")")" 8 "the manifest has them in lines that older readers pass over"

# Whatever handles the version's objects handles this one.
run_rondo gc "$site" --grace 0
is "$status $(sha256sum <"$(object "$site" "$logo")" | cut -d' ' -f1)" "0 $logo" "gc keeps it"
run_rondo mirror "$site" "$TMPDIR/mirror"
ok "mirror copies it" cmp "$TMPDIR/logo" "$(object "$TMPDIR/mirror" "$logo")"
rm "$(object "$site" "$logo")"
run_rondo fsck "$site"
status_is 5 "fsck misses it"
like "$err$out" "$logo.*missing|missing.*${logo:0:16}" "and says so"
run_rondo pull "$site/image"
status_is 0 "a pull does without"
not_ok "and does not fetch it" test -e "$(object "$RONDO_CACHE" "$logo")"
cp "$TMPDIR/other" "$(object "$site" "$logo")"
run_rondo fsck "$site" --json
status_is 5 "another file in its place is found"
rm "$(object "$site" "$logo")"
mkdir -p "$(dirname "$(object "$site" "$logo")")"
cp "$TMPDIR/logo" "$(object "$site" "$logo")"
run_rondo fsck "$site"
status_is 0 "all is well again"
run_rondo export "$site/image" "$TMPDIR/image.rondo"
status_is 0 "export"
is "$(tar tf "$TMPDIR/image.rondo" | grep -c "$logo")" 1 "takes it along"
is "$(RONDO_HOME=$TMPDIR/home RONDO_CACHE=$TMPDIR/cache "$BUILD/rondo" import "$TMPDIR/image.rondo" 2>&1)" \
	"$(RONDO_HOME=$TMPDIR/home RONDO_CACHE=$TMPDIR/cache "$BUILD/rondo" import "$TMPDIR/image.rondo" 2>&1)" "import takes it in, twice alike"
ok "it is in that cache" cmp "$TMPDIR/logo" "$(object "$TMPDIR/cache" "$logo")"
ok "and is kept with the version" grep -q "$logo" "$TMPDIR/cache/pins/$manifest"

# What a publisher may have signed all the same.
cp -r "$site" "$TMPDIR/forged"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/forged" "$TMPDIR/key" --manifest image:1 'opt-logo \w+ 524288 png' "opt-logo $logo 524288 jpeg" ||
	bail_out "a site can be forged"
run_rondo fsck "$TMPDIR/forged"
status_is 5 "fsck finds a logo that is not of the type that its manifest says"
like "$err$out" "is no jpeg" "and says so"

# A commit takes all of it over; what is given replaces it.
make_machine one "$site/image"
write_blocks "$folder" "$TMPDIR/disk" data:1:2:1
commit() { # SITE VERSION OPTION…
	local to=$1 version=$2
	shift 2
	run_rondo commit one --name image --version "$version" --key "$TMPDIR/key" --to "$to" --force "$@"
	is "$status" 0 "commit as version $version"
}
commit "$site" 2
is "$(field "$site/image:2" logo) $(field "$site/image:2" ports)" "$logo 80 web server, 22 ssh" "takes over what pages show"
commit "$site" 3 --logo "$TMPDIR/other" --description none --show-port none
is "$(field "$site/image:3" logo) $(field "$site/image:3" ports)$(field "$site/image:3" description)" "$(sha256sum <"$TMPDIR/other" | cut -d' ' -f1) " \
	"or what is given instead"
commit "$TMPDIR/second" 1
ok "another site gets the logo, too" cmp "$TMPDIR/logo" "$(object "$TMPDIR/second" "$logo")"
run_rondo fsck "$TMPDIR/second"
status_is 0 "and is whole"
rm "$(object "$site" "$logo")" "$(object "$RONDO_CACHE" "$logo")"
commit "$TMPDIR/third" 1
like "$err" "the logo of image 1 cannot be had: .*; 1 has none" "one that cannot be had is left out"
is "$(field "$TMPDIR/third/image" logo)" "" "of the new version"
done_testing
