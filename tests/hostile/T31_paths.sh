#!/bin/bash
# T31: names that lead elsewhere. A server is asked for them: dots, encodings, backslashes, NUL, links, hidden files. A client reads
# them in a signed catalog, a signed manifest, or a site's folder. Nothing outside is served, asked for, read or shown.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign

# --- the server ---

served=$TMPDIR/served
hash=$(printf 'ab%062d' 7)
link=$(printf 'ab%062d' 8)
mkdir -p "$served/objects/ab" "$served/partial" "$served/docs" "$served/.hidden"
echo object >"$served/objects/ab/$hash"
echo page >"$served/docs/index.html"
printf 'rondo-catalog 1\n' >"$served/catalog.rondo"
for secret in outside served/partial/$hash served/.hidden/file served/objects/ab/.rondo-tmp-0123456789abcdef served/site.key; do
	echo secret >"$TMPDIR/$secret"
done
chmod 600 "$served/site.key"
ln -s ../outside "$served/outside"
ln -s / "$served/root"
ln -s ../../../outside "$served/objects/ab/$link"
tree() {
	(cd "$served" && find . -printf '%p %m %s %l %T@\n' | sort)
}
before=$(tree)
start_process server rondo-server --listen 127.0.0.1:0 --log "$TMPDIR/access" "$served"
server=$process
wait_until 10 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "the server starts"
port=$(sed -n 's/^listening on .*:\([0-9]*\)\/$/\1/p' "$TMPDIR/server.log")

# A line each: the status that is right, and the request's target (with Python's escapes).
cat >"$TMPDIR/targets" <<END
200 /catalog.rondo
200 /objects/ab/$hash
400 /..
400 /../outside
400 /../outside?x
400 /docs/../../outside
400 /objects/../../outside
400 /objects/../../../../../../../../etc/passwd
400 /%2e%2e/outside
400 /%2E%2e%2foutside
400 /..%2foutside
400 /.%2e/outside
400 /%252e%252e/outside
400 /..\\\\outside
400 /..%5coutside
400 /%5c..%5coutside
400 /./catalog.rondo
400 //etc/passwd
400 ///etc/passwd
400 //127.0.0.1/etc/passwd
400 /docs//index.html
400 /%c0%ae%c0%ae/outside
400 /%c0%ae%c0%ae%c0%afoutside
400 /%e0%80%ae%e0%80%ae/outside
400 /%uff0e%uff0e/outside
400 /catalog.rondo%00.html
400 /%00
400 /../outside\\x00
403 /site.key\\x00/../catalog.rondo
400 /a%0d%0aX:y
400 /%
400 /%g1
400 /%2
400 /objects%2fab%2f$hash
400 /objects/./ab/$hash
400 /objects/ab/../ab/$hash
400 /partial/../site.key
400 http://x/../outside
400 http://x/%2e%2e/outside
400 file:///etc/passwd
403 /site.key
404 /etc/passwd
404 /root/etc/passwd
404 /outside
404 /objects/ab/$link
404 /objects/ab/${link}/x
404 /partial/$hash
404 /p%61rtial/$hash
404 /.hidden/file
404 /docs/.hidden
404 /objects/ab/.rondo-tmp-0123456789abcdef
400 /objects/ab/../ab
404 /objects/cd/$hash
404 /objects/ab/${hash^^}
404 /proc/self/environ
404 /root/proc/self/environ
END
python3 - "$port" "$TMPDIR/targets" >"$TMPDIR/answers" <<'END'
import socket, sys
for line in open(sys.argv[2]):
    wanted, target = line.rstrip("\n").split(" ", 1)
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
    s.sendall(b"GET " + target.encode().decode("unicode_escape").encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    got = b""
    while data := s.recv(65536):
        got += data
    status = got.split(b" ")[1].decode() if got.count(b" ") > 1 else "none"
    shown = any(word in got for word in (b"secret", b"root:", b"PATH="))
    print(f"{target}: {status}{', and shows what it should not' if shown else ''}" if shown or status != wanted else "")
END
is "$(grep -c '' "$TMPDIR/answers")" "$(wc -l <"$TMPDIR/targets")" "each of $(wc -l <"$TMPDIR/targets") targets is answered"
is "$(grep . "$TMPDIR/answers")" "" "and as it should be; nothing outside is shown"
is "$(awk '{ print $5 }' "$TMPDIR/access" | tr '\n' ' ')" "$(cut -d ' ' -f 1 "$TMPDIR/targets" | tr '\n' ' ')" "the log has a line for each"
is "$(LC_ALL=C grep -c '[^ -~]' "$TMPDIR/access")" 0 "without control characters"
is "$(tree)" "$before" "the folder is as it was"
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$server/status")
ok "the server's memory stays small ($peak KiB)" [ "$peak" -lt 65536 ]
stop_process "$server"
is "$status" 0 "and it ends as asked"

# --- the client ---

make_disk "$TMPDIR/disk" 2 1
must_publish image 1 "$TMPDIR/disk"
manifest=$out
good=$site
mkdir "$TMPDIR/forged"
attack "$TMPDIR/forged"
zeros64=$(printf '%064d' 0)
number=0
forged() { # FORGE-ARGUMENT…
	number=$((number + 1))
	site=$TMPDIR/forged/$number
	cp -r "$good" "$site"
	python3 "$ROOT/tests/hostile/forge.py" "$site" "$TMPDIR/key" "$@" || bail_out "a site can be forged"
}
refused() { # WHAT REQUESTS FORGE-ARGUMENT…: nothing but REQUESTS (a regular expression) is asked for
	local what=$1 wanted=$2
	shift 2
	forged "$@"
	rules
	measure "$BUILD/rondo" pull "$url$number/image"
	status_is 5 "$what: exit code 5"
	like "$err" "$url$number/" "$what: the site is named"
	is "$(grep -vcE "^GET /$number/($wanted) " "$requests")" 0 "$what: nothing is asked for that it names" || diag_file "$requests"
	ok "$what: in bounded memory ($peak KiB) and time ($seconds s)" [ "$peak" -lt 65536 -a "$seconds" -lt 10 ]
}
for path in '../../../../../etc/passwd' '/etc/passwd' '%2e%2e%2f%2e%2e%2fetc%2fpasswd' '..\\\\..\\\\etc' 'file:///etc/passwd' \
	"${zeros64:0:61}/.." "${zeros64:0:62}.."; do
	refused "a manifest called $path" 'catalog.rondo' --catalog '^(image image 1 1) .*' "image image 1 1 $path"
done
refused "an image called ../../x" 'catalog.rondo' --catalog '^image image' 'image ../../x'
refused "a version called .." 'catalog.rondo' --catalog '^image image 1' 'image image ..'
refused "a shard called ../../x" 'catalog.rondo' --catalog '^image .*\ntag .*' 'shard 00 ../../x 500'
refused "a mirror with .." 'catalog.rondo' --catalog '^image' 'mirror http://127.0.0.1:1/../\nimage'
run_rondo trust ls
is "$status $out" "0 " "and none of these sites is remembered"
refused "a pack called ../../../etc/passwd" 'catalog.rondo|objects/../\w{64}' --manifest image:1 '^member disk (\d+) \w+,\w+' \
	"member disk 2097152 $zeros64,../../../etc/passwd"
refused "a boot pack called ../../x" 'catalog.rondo|objects/../\w{64}' --manifest image:1 '\Z' 'boot ../../x 5\n'
is "$(find "$TMPDIR" -name 'passwd*')" "" "no file of such a name was made"

# Links in a site's folder are not followed out of it.
forged
mv "$site/catalog.rondo" "$TMPDIR/catalog"
ln -s "$TMPDIR/catalog" "$site/catalog.rondo"
run_rondo pull "$site/image"
unlike "$status" '^0$' "a catalog that is a link: refused"
unlike "$err" 'secret' "and not shown"
forged
object=$(find "$site/objects" -size +100k | head -n 1)
mv "$object" "$TMPDIR/object"
ln -s "$TMPDIR/object" "$object"
cp "$TMPDIR/object" "$TMPDIR/object.was"
run_rondo pull "$site/image"
unlike "$status" '^0$' "a pack that is a link, to the right bytes even: refused"
is "$(find "$RONDO_CACHE" -name "${object##*/}" | wc -l)" 0 "and not taken"
ok "what it points to is as it was" cmp "$TMPDIR/object" "$TMPDIR/object.was"
forged
run_rondo pull "$site/image"
is "$status $out" "0 $manifest" "the same site without links is right"
done_testing
