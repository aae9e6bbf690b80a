#!/bin/bash
# rondo-server: whole files, ranges, conditions, caching headers, hostile requests, its log, its start and its end.
. "$(dirname "$0")/../lib.sh"
need curl python3

site=$TMPDIR/site
log=$TMPDIR/access.log
hash=$(printf 'ab%062d' 7)
big=$(printf 'cd%062d' 7)
empty=$(printf 'ef%062d' 7)
mkdir -p "$site/objects/ab" "$site/objects/cd" "$site/objects/ef" "$site/partial" "$site/docs" "$site/.hidden"
head -c 3000000 /dev/urandom >"$site/objects/ab/$hash"
: >"$site/objects/ef/$empty"
truncate -s 5G "$site/objects/cd/$big"
printf 'behind 4 GiB' | dd of="$site/objects/cd/$big" bs=1 seek=4294967300 conv=notrunc status=none
printf 'rondo-catalog 1\n' >"$site/catalog.rondo"
printf '<p>page</p>' >"$site/index.html"
printf '<p>docs</p>' >"$site/docs/index.html"
printf 'secret' >"$site/partial/$hash"
printf 'secret' >"$site/.hidden/file"
printf 'secret' >"$site/objects/ab/.rondo-tmp-0123456789abcdef"
printf 'secret' >"$site/site.key"
printf 'secret' >"$TMPDIR/outside"
chmod 600 "$site/site.key" "$site/objects/ab/$hash" "$site/catalog.rondo"
ln -s ../outside "$site/outside"
ln -s / "$site/root"
mkfifo "$site/fifo"
touch -d '2020-02-02T02:02:02Z' "$site/catalog.rondo" "$site/objects/ab/$hash"
date='Sun, 02 Feb 2020 02:02:02 GMT'

# serve NAME ARGUMENT…: starts a server; sets $url and $process.
serve() {
	local name=$1
	shift
	start_process "$name" rondo-server --listen 127.0.0.1:0 "$@"
	wait_until 10 grep -q '^listening on' "$TMPDIR/$name.log" || bail_out "$name starts"
	url=$(sed -n 's/^listening on //p' "$TMPDIR/$name.log")
}
# get PATH [CURL OPTION…]: sets $code, $headers (lower case names, no CR) and the file $TMPDIR/body.
get() {
	local path=$1
	shift
	: >"$TMPDIR/body" # curl leaves the file alone when there is no body
	code=$(curl -sS --max-time 20 --path-as-is -o "$TMPDIR/body" -D "$TMPDIR/headers" -w '%{http_code}' "$@" "$url$path")
	headers=$(tr -d '\r' <"$TMPDIR/headers")
}
header() {
	sed -n "s/^$1: //Ip" <<<"$headers"
}
body_is_part() { # FIRST LENGTH
	cmp "$TMPDIR/body" <(tail -c +$(($1 + 1)) "$object" | head -c "$2")
}

serve server --log "$log" "$site"
server=$process
object=$site/objects/ab/$hash
path=objects/ab/$hash

# Whole files and their headers.
get "$path"
is "$code" 200 "an object is served"
ok "byte for byte" cmp "$TMPDIR/body" "$object"
is "$(header content-length)" 3000000 "with its length"
is "$(header cache-control)" 'public, max-age=31536000, immutable' "it may be kept for ever"
is "$(header etag)" "\"$hash\"" "its tag is its name"
is "$(header accept-ranges)" bytes "ranges are offered"
is "$(header content-type)" application/octet-stream "its type is no type"
is "$(header x-content-type-options)" nosniff "which no browser second-guesses"
get "$path" -H 'Accept-Encoding: gzip, br, zstd'
is "$(header content-encoding) $(header content-length)" ' 3000000' "nothing is compressed on the way"
get catalog.rondo
is "$code $(cat "$TMPDIR/body")" '200 rondo-catalog 1' "the catalog is served"
is "$(header cache-control)" 'public, max-age=60, must-revalidate' "it may be kept for a minute"
is "$(header last-modified)" "$date" "it has a date"
get ''
is "$code $(header content-type) $(cat "$TMPDIR/body")" '200 text/html; charset=utf-8 <p>page</p>' "/ is index.html"
is "$(header cache-control)" 'public, no-cache' "pages are asked for each time"
get docs/
is "$code $(cat "$TMPDIR/body")" '200 <p>docs</p>' "a folder is its index.html"
get "objects/ef/$empty"
is "$code $(header content-length)" '200 0' "an empty file is served"

# Ranges
check_range() { # RANGE FIRST LENGTH
	get "$path" -H "Range: $1"
	is "$code $(header content-range) $(header content-length)" \
		"206 bytes $2-$(($2 + $3 - 1))/3000000 $3" "$1 is a part"
	ok "$1 has the right bytes" body_is_part "$2" "$3"
}
check_range bytes=0-0 0 1
check_range bytes=0-131071 0 131072
check_range bytes=131072-262143 131072 131072
check_range bytes=2999999- 2999999 1
check_range bytes=1000000-99999999999999999999 1000000 2000000
check_range bytes=-1 2999999 1
check_range bytes=-4000000 0 3000000
check_range bytes=0- 0 3000000
for range in bytes=3000000- bytes=99999999999999999999- bytes=-0; do
	get "$path" -H "Range: $range"
	is "$code $(header content-range)" '416 bytes */3000000' "$range is beyond the end"
	is "$(header cache-control)" no-store "and that answer is not kept"
done
for range in bytes=0-1,5-6 bytes=5-3 bytes=a-b items=0-5 bytes= 'bytes=0 - 5' bytes=0x0-0x5; do
	get "$path" -H "Range: $range"
	is "$code $(header content-range) $(header content-length)" '200  3000000' "'$range' gets everything"
done
get "$path" -H 'Range: bytes=0-1' -H 'Range: bytes=5-6'
is "$code" 200 "two Range headers get everything"
get "objects/cd/$big" -H 'Range: bytes=4294967300-4294967311'
is "$code $(cat "$TMPDIR/body")" '206 behind 4 GiB' "ranges reach behind 4 GiB"
get "objects/ef/$empty" -H 'Range: bytes=0-0'
is "$code $(header content-range)" '416 bytes */0' "an empty file has no first byte"

# HEAD
get "$path" -I
is "$code $(header content-length) $(wc -c <"$TMPDIR/headers")" "200 3000000 $(wc -c <"$TMPDIR/body")" "HEAD has headers only"
get "$path" -I -H 'Range: bytes=0-0'
is "$code $(header content-length)" '200 3000000' "HEAD has no ranges"
get "objects/ab/nothing" -I
is "$code" 404 "HEAD of nothing is 404"

# Conditions
get "$path" -H "If-None-Match: \"other\", W/\"$hash\""
is "$code $(header etag)" "304 \"$hash\"" "If-None-Match with the tag: 304"
is "$(wc -c <"$TMPDIR/body")" 0 "without a body"
get "$path" -H "If-None-Match: \"$hash\"" -H 'Range: bytes=0-0'
is "$code" 304 "If-None-Match comes before Range"
get catalog.rondo
tag=$(header etag)
like "$tag" '^"[0-9a-f]{32}"$' "the catalog has a tag"
get catalog.rondo -H "If-None-Match: $tag"
is "$code $(header cache-control)" '304 public, max-age=60, must-revalidate' "the same catalog: 304"
get catalog.rondo -H "If-Modified-Since: $date"
is "$code" 304 "If-Modified-Since with its date: 304"
get catalog.rondo -H "If-Modified-Since: $date" -H 'If-None-Match: "other"'
is "$code" 200 "If-None-Match outweighs If-Modified-Since"
printf 'rondo-catalog 2\n' >"$site/new" && touch -d '2020-02-02T02:02:02Z' "$site/new" && mv "$site/new" "$site/catalog.rondo"
get catalog.rondo -H "If-None-Match: $tag"
is "$code $(cat "$TMPDIR/body")" '200 rondo-catalog 2' "a new catalog of the same size and date: 200"
for value in "\"$hash\"" "$date"; do
	get "$path" -H 'Range: bytes=0-9' -H "If-Range: $value"
	is "$code" 206 "If-Range: $value holds"
done
for value in "W/\"$hash\"" '"other"' 'Sun, 02 Feb 2020 02:02:03 GMT' x; do
	get "$path" -H 'Range: bytes=0-9' -H "If-Range: $value"
	is "$code" 200 "If-Range: $value does not"
done

# What is not there for anybody.
for missing in nothing docs docs/nothing/ objects objects/ objects/ab/ "objects/cd/$hash" "objects/ab/${hash^^}" \
	"objects/ab/$hash/" "objects/ab/${hash}0" "$hash" "partial/$hash" partial/ .hidden/file \
	objects/ab/.rondo-tmp-0123456789abcdef outside root/etc/passwd fifo; do
	get "$missing"
	is "$code" 404 "/$missing is not found"
done
is "$(header cache-control)" no-store "and that answer is not kept"
get site.key
is "$code" 403 "a page that only its owner may read is not served"

get "$(printf 'a%.0s' {1..2000})"
is "$code" 414 "an over-long target is refused"

# Other methods and other requests.
for method in POST PUT DELETE OPTIONS PATCH TRACE get; do
	get catalog.rondo -X "$method"
	is "$code $(header allow)" '405 GET, HEAD' "$method is not allowed"
done
sent=$(head -c 50000000 /dev/zero | curl -sS --max-time 20 -o /dev/null -w '%{size_upload}' -T - -H 'Expect:' "${url}x" 2>/dev/null)
ok "an upload is cut short ($sent bytes)" test "$sent" -lt 25000000
get catalog.rondo -X GET -d body
is "$code" 400 "a GET with a body is refused"
port=${url##*:}
port=${port%/}
cat >"$TMPDIR/raw.py" <<'END'
# Sends the bytes of each line (Python escapes) on a connection of its own; prints the status, or what came instead.
import socket, sys
for line in sys.stdin.buffer.read().splitlines():
    got = b""
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
    try:
        s.sendall(line.decode("unicode_escape").encode("latin-1"))
        s.shutdown(socket.SHUT_WR)
        while True:
            data = s.recv(65536)
            if not data:
                break
            got += data
    except OSError: # the other side was quicker
        pass
    words = got.split(b"\r\n")[0].split(b" ")
    print(words[1].decode() if len(words) > 1 else "closed", "secret" if b"secret" in got or b"root:" in got else "-")
END
raw=$(python3 "$TMPDIR/raw.py" "$port" <<'END'
GET /catalog.rondo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n
GET http://x/catalog.rondo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n
GET /catalog.rondo HTTP/1.1\r\nConnection: close\r\n\r\n
GET /cata log.rondo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n
GET /catalog.rondo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nabcde\r\n0\r\n\r\n
GET /caf\xe9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n
END
)
is "$(tr '\n' ' ' <<<"$raw")" '200 - 200 - 400 - closed - 400 - 400 - ' "requests that curl does not send"
# Requests without an end may last until the server's patience does.
serve patience --stall 1 "$site"
short=${url##*:}
short=${short%/}
python3 "$TMPDIR/raw.py" "$short" >"$TMPDIR/raw.out" <<'END'
\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03
\r\n\r\n\r\n
GET
GET / HTTP/9.9\r\n\r\n
PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n
\x00\x00\x00\x00\x00\x00\x00\x00\r\n\r\n
GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n
GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n
GET / HTTP/1.1\r\nHost x\r\n\r\n
END
printf 'GET / HTTP/1.1\r\nHost: x\r\nX: %0200000d\r\n\r\n' 1 | sed 's/\r/\\r/g; s/$/\\n/' | tr -d '\n' >"$TMPDIR/long"
python3 "$TMPDIR/raw.py" "$short" <"$TMPDIR/long" >>"$TMPDIR/raw.out"
url=http://127.0.0.1:$port/
unlike "$(cat "$TMPDIR/raw.out")" '^200 ' "a head of 200 kB is refused"
get catalog.rondo
is "$code" 200 "the server is well after all that"

# The log: one line per request, before the answer.
: >"$log"
get "$path" -H 'Range: bytes=0-9'
like "$(cat "$log")" "^20[0-9-]+T[0-9:]+Z 127\.0\.0\.1 GET /$path 206 10 bytes=0-9$" "a request's line is in the log"
get "a%20b" -H $'Range: a b\x01'
is "$(tail -n 1 "$log" | cut -d ' ' -f 3-)" 'GET /a%20b 404 10 a%20b%01' "fields have no spaces or control characters"
curl -sS --max-time 20 -o /dev/null -o /dev/null "${url}catalog.rondo" "${url}catalog.rondo" -w '%{num_connects}\n' >"$TMPDIR/connects"
is "$(tr '\n' ' ' <"$TMPDIR/connects")" '1 0 ' "a connection serves several requests"
: >"$log"
fetchers=()
for i in {1..16}; do
	curl -sS --max-time 60 -o "$TMPDIR/copy.$i" "$url$path" -o /dev/null "${url}catalog.rondo" &
	fetchers+=($!)
done
wait "${fetchers[@]}"
same=0
for i in {1..16}; do cmp -s "$TMPDIR/copy.$i" "$object" && same=$((same + 1)); done
is "$same" 16 "16 clients at once get the right bytes"
is "$(grep -cE "^[^ ]+ 127\.0\.0\.1 GET /$path 200 3000000 -\$" "$log")" 16 "with 16 lines in the log"
is "$(awk 'NF != 7' "$log" | wc -l) $(wc -l <"$log")" '0 32' "all of them whole"

# Start and end.
run rondo-server --listen "127.0.0.1:$port" "$site"
status_is 10 "a port that is taken: exit 10"
like "$err" "port $port is taken.*--listen" "with the option to use"
run rondo-server "$TMPDIR/absent"
status_is 3 "a missing folder: exit 3"
like "$err" "$TMPDIR/absent" "which is named"
run rondo-server "$object"
status_is 2 "a file for a folder: exit 2"
run rondo-server --listen nowhere "$site"
status_is 2 "an address without a port: exit 2"
for wrong in '' '--stall 0 .' '--stall x .' '--none .' '. .' '--listen' '--listen :8080 .' '--listen 127.0.0.1:65536 .' \
	'--listen ::1:80 .' '--listen 127.0.0.1:-1 .'; do
	# shellcheck disable=SC2086 # words on purpose
	run rondo-server $wrong
	status_is 2 "wrong usage '$wrong': exit 2"
done
run rondo-server --listen name.invalid:80 "$site"
status_is 3 "an unknown host: exit 3"
run rondo-server --version
like "$status $out" '^0 rondo-server [0-9]' "--version"
run rondo-server --help
like "$status $out" '^0 usage: rondo-server' "--help"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null && setpriv --reuid=65534 --clear-groups rondo-server --version >/dev/null 2>&1; then
	run setpriv --reuid=65534 --clear-groups rondo-server --listen 127.0.0.1:0 --log /rondo-server-test.log /
	status_is 9 "a log that may not be written: exit 9"
else
	skip "a log that may not be written: exit 9" "needs root, and a build that others can read"
fi
mkdir "$TMPDIR/unpublished"
serve empty_site "$TMPDIR/unpublished"
like "$(cat "$TMPDIR/empty_site.log")" 'warning: no catalog.rondo' "a folder without a catalog: a warning"
printf 'later' >"$TMPDIR/unpublished/catalog.rondo"
get catalog.rondo
is "$code $(cat "$TMPDIR/body")" '200 later' "and what is published later is served"
if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
	start_process six rondo-server --listen '[::1]:0' "$site"
	wait_until 10 grep -q '^listening on' "$TMPDIR/six.log"
	url=$(sed -n 's/^listening on //p' "$TMPDIR/six.log")
	like "$url" '^http://\[::1\]:[0-9]+/$' "IPv6 has its own form"
	get catalog.rondo -g
	is "$code" 200 "and is served"
else
	skip "IPv6" "this machine has none"
fi
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
	start_process traced strace -D -f -o "$TMPDIR/trace" -e trace=sendfile,sendfile64,open,openat,openat2,creat \
		rondo-server --listen 127.0.0.1:0 "$site"
	wait_until 20 grep -q '^listening on' "$TMPDIR/traced.log"
	url=$(sed -n 's/^listening on //p' "$TMPDIR/traced.log")
	get "$path"
	ok "the traced server serves, too" cmp "$TMPDIR/body" "$object"
	stop_process "$process"
	ok "objects leave by sendfile" grep -qE 'sendfile(64)?\([0-9]+, [0-9]+, .* = [1-9]' "$TMPDIR/trace"
	ok "objects are opened below the site's folder" grep -q "openat2(.*$hash.*RESOLVE_BENEATH" "$TMPDIR/trace"
	not_ok "nothing is opened for writing" grep -E 'O_WRONLY|O_RDWR|O_CREAT|creat\(' "$TMPDIR/trace"
else
	skip "system calls" "strace cannot trace here"
fi

url=http://127.0.0.1:$port/
curl -sS --max-time 30 --limit-rate 1500k -o "$TMPDIR/slow" "$url$path" &
slow=$!
exec 9<>"/dev/tcp/127.0.0.1/$port" # idle
wait_until 10 test -s "$TMPDIR/slow"
before=$SECONDS
kill -TERM "$server"
ok "a transfer under way is finished after SIGTERM" wait "$slow"
ok "with the right bytes" cmp "$TMPDIR/slow" "$object"
wait "$server"
is $? 0 "SIGTERM: exit 0"
ok "soon, in spite of idle connections" test $((SECONDS - before)) -le 7
exec 9>&-
unlike "$(cat "$TMPDIR/server.log")" 'error|warning' "no complaint in all that time"
serve interrupted "$site"
kill -INT "$process"
wait "$process"
is $? 0 "SIGINT: exit 0"
done_testing
