#!/bin/bash
# docs/nginx.conf is right: nginx starts with it in front of rondo-server, with TLS, and sends what that would send; it keeps what may be
# kept, and answers from it while the server is away.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/servers.sh"
. "$ROOT/tests/sites.sh"
need curl nginx openssl python3

site=$TMPDIR/site
head -c 300000 /dev/urandom >"$TMPDIR/object"
hash=$(sha256sum "$TMPDIR/object")
hash=${hash%% *}
object=objects/${hash:0:2}/$hash
mkdir -p "$site/objects/${hash:0:2}" "$TMPDIR/nginx/cache"
mv "$TMPDIR/object" "$site/$object"
printf 'rondo-catalog 1\n' >"$site/catalog.rondo"
printf '<p>page</p>' >"$site/index.html"
printf 'secret' >"$site/site.key"
chmod -R a+rX "$site" "$TMPDIR"
chmod 600 "$site/site.key"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=os.example.org \
	-addext subjectAltName=DNS:os.example.org -keyout "$TMPDIR/tls.key" -out "$TMPDIR/tls.crt" 2>/dev/null || bail_out "a certificate is made"

log=$TMPDIR/access.log
backend=$(free_port) tls=$(free_port) plain=$(free_port)
start_server() { # OPTION…
	start_process server rondo-server --listen "127.0.0.1:$backend" --log "$log" "$@" "$site"
	server=$process
	wait_for_port "$backend" || bail_out "rondo-server starts"
}
start_server

# The example, with this test's ports, folders and rate (of searches: how fast this machine is must not matter), where nginx.conf would have it.
sed -e "s|127.0.0.1:8080|127.0.0.1:$backend|; s|listen 80;|listen 127.0.0.1:$plain;|; s|listen 443 |listen 127.0.0.1:$tls |; s|20r/s|1r/m|" \
	-e "s|/var/cache/nginx/rondo|$TMPDIR/nginx/cache|; s|/var/lib/rondo/site|$site|" \
	-e "s|/etc/letsencrypt/live/os.example.org/fullchain.pem|$TMPDIR/tls.crt|; s|/etc/letsencrypt/live/os.example.org/privkey.pem|$TMPDIR/tls.key|" \
	"$ROOT/docs/nginx.conf" >"$TMPDIR/rondo.conf"
configure_nginx "access_log off; include $TMPDIR/rondo.conf;"
run nginx -t -e "$TMPDIR/nginx/error.log" -c "$TMPDIR/nginx.conf" -p "$TMPDIR/nginx"
status_is 0 "nginx takes the example"
unlike "$err" 'warn' "without a warning"
start_process nginx nginx -e "$TMPDIR/nginx/error.log" -c "$TMPDIR/nginx.conf" -p "$TMPDIR/nginx"
wait_for_port "$tls" || bail_out "nginx starts"

# get PATH [CURL OPTION…]: over TLS; sets $code, $headers and $TMPDIR/body.
get() {
	local path=$1
	shift
	: >"$TMPDIR/body"
	code=$(curl -sS --max-time 20 --path-as-is --cacert "$TMPDIR/tls.crt" --resolve "os.example.org:$tls:127.0.0.1" \
		-o "$TMPDIR/body" -D "$TMPDIR/headers" -w '%{http_code}' "$@" "https://os.example.org:$tls/$path")
	headers=$(tr -d '\r' <"$TMPDIR/headers")
}
header() {
	sed -n "s/^$1: //Ip" <<<"$headers"
}
asked() { # PATH: how often rondo-server was asked for it
	awk -v path="/$1" '$4 == path' "$log" | wc -l
}

get catalog.rondo
is "$code $(cat "$TMPDIR/body")" '200 rondo-catalog 1' "the catalog comes over TLS"
is "$(header cache-control)" 'public, max-age=60, must-revalidate' "it may be kept for a minute"
like "$(header strict-transport-security)" 'max-age=31536000' "the next visit is over TLS, too"
get catalog.rondo
is "$code $(asked catalog.rondo)" '200 1' "nginx keeps it: the server is asked once"
get "$object"
is "$code $(header cache-control)" '200 public, max-age=31536000, immutable' "an object may be kept for ever"
ok "it has the right bytes" cmp "$TMPDIR/body" "$site/$object"
get "$object" -r 4096-8191 -H 'Accept-Encoding: gzip'
is "$code $(header content-range) $(header content-encoding)" '206 bytes 4096-8191/300000 ' "a range of it is a range"
ok "with the right bytes" cmp "$TMPDIR/body" <(tail -c +4097 "$site/$object" | head -c 4096)
is "$(asked "$object")" 0 "objects come from the disk"
get ''
is "$code $(header content-type) $(cat "$TMPDIR/body")" '200 text/html; charset=utf-8 <p>page</p>' "a page comes through"
printf '<p>new</p>' >"$site/new" && mv "$site/new" "$site/index.html"
get ''
is "$(cat "$TMPDIR/body")" '<p>new</p>' "and is asked for again each time"
for path in site.key "objects/../site.key" "objects/%2e%2e/site.key" "objects/${hash:0:2}/../../site.key"; do
	get "$path"
	unlike "$code $(cat "$TMPDIR/body")" 'secret|^200' "/$path stays secret"
done
head -c 100000 /dev/zero >"$TMPDIR/upload"
get api/v1/publish/nothing -X PUT -T "$TMPDIR/upload"
like "$code" '^40[0-9]$' "an upload is the server's to answer"
codes=$(for _ in {1..60}; do printf 'url = "https://os.example.org:%s/search?q=x"\noutput = /dev/null\n' "$tls"; done |
	curl -sS --max-time 30 --cacert "$TMPDIR/tls.crt" --resolve "os.example.org:$tls:127.0.0.1" -w '%{http_code}\n' -K - | sort | uniq -c)
like "$codes" ' 503' "who searches without end is told to wait"
run curl -sS --max-time 20 -o /dev/null -w '%{http_code} %{redirect_url}' "http://127.0.0.1:$plain/catalog.rondo?x=1"
is "$out" '301 https://os.example.org/catalog.rondo?x=1' "without TLS one is sent on"

stop_process "$server"
get catalog.rondo
is "$code $(cat "$TMPDIR/body")" '200 rondo-catalog 1' "while the server is away nginx has the catalog"
get "$object" -r 0-0
is "$code" 206 "and the objects"
get never-seen
is "$code" 502 "what it has not is missing"

# A server that answers a request only when another one is there, too.
start_process barrier python3 -c 'import http.server, sys, threading
barrier = threading.Barrier(2, timeout=4)
class Answer(http.server.BaseHTTPRequestHandler):
	def do_GET(self):
		try:
			barrier.wait()
			self.send_response(200)
		except threading.BrokenBarrierError:
			self.send_response(500)
		self.send_header("Content-Length", "0")
		self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()' "$backend"
wait_for_port "$backend" || bail_out "the other server starts"
curl -sS --max-time 20 --cacert "$TMPDIR/tls.crt" --resolve "os.example.org:$tls:127.0.0.1" -o /dev/null -w '%{http_code}' \
	"https://os.example.org:$tls/images/image/" >"$TMPDIR/first" &
get images/image/
wait $!
is "$code $(cat "$TMPDIR/first")" '200 200' "two who ask for one page do not wait for each other"
stop_process "$process"
start_server
get never-seen
is "$code" 404 "until the server is back"

# Pages name the site as visitors see it.
stop_process "$server"
site=$TMPDIR/published
make_disk "$TMPDIR/disk" 1
printf '\211PNG\r\n\032\n and so on' >"$TMPDIR/logo"
must_publish image 1 "$TMPDIR/disk" --logo "$TMPDIR/logo"
start_server --state "$TMPDIR/state"
get images/image/
is "$code" 200 "an image has its page"
like "$(cat "$TMPDIR/body")" "rondo run &#39;https://os.example.org:$tls/image:1@sha256:[0-9a-f]{64}#" "its command has nginx's address, with TLS"
like "$(cat "$TMPDIR/body")" "href=\"rondo://os.example.org:$tls/image:1@sha256:" "as has its link"
logo=images/image/$(grep -o 'logo-[0-9a-f]*\.png' "$TMPDIR/body" | head -n 1)
get "$logo"
ok "its logo comes" cmp "$TMPDIR/body" "$TMPDIR/logo"
get "$logo"
is "$code $(asked "$logo")" '200 1' "and is kept"
done_testing
