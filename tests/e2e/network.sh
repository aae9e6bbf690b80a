#!/bin/bash
# A guest's network: an address by DHCP, the world outside, ports forwarded into it, none with --net none; and never what listens
# on the host's loopback addresses alone (threat T29).
#
# Hermetic: the host is a network namespace of its own, whose gateway is another one, "outside".
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 passt jq curl python3 ip unshare nsenter
need_fuse
[ "$(id -u)" = 0 ] || skip_all "not root, who alone may make network namespaces and mount in them"
if [ -z "${RONDO_TEST_HOST:-}" ]; then
	unshare -n true || skip_all "no network namespace can be made"
	"$ROOT/tests/images.sh" tiny >/dev/null || skip_all "the appliance tiny cannot be built here" # that needs the real network
	RONDO_TEST_HOST=1 exec unshare -n "$0" "$@"
fi
ip link set lo up
start_process outside unshare -n sleep infinity
outside=$process
outside() {
	nsenter -t "$outside" -n "$@"
}
wait_until 10 eval '[ "$(readlink "/proc/$outside/ns/net")" != "$(readlink /proc/self/ns/net)" ]' || bail_out "a namespace outside"
ip link add eth0 type veth peer name eth0 netns "$outside" || skip_all "no pair of virtual interfaces can be made"
ip addr add 10.77.0.2/24 dev eth0
ip addr add fd77::2/64 dev eth0 nodad
ip link set eth0 up
outside ip addr add 10.77.0.1/24 dev eth0
outside ip addr add fd77::1/64 dev eth0 nodad
outside ip link set eth0 up
ip route add default via 10.77.0.1
ip -6 route add default via fd77::1

# Servers at one port: outside, and on the host's loopback addresses. What a guest gets tells whose it is.
cat >"$TMPDIR/say.py" <<'END_OF_SERVER'
import http.server, socket, socketserver, sys
class Say(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[3].encode())
class Server(socketserver.ThreadingTCPServer): # HTTPServer asks for the name of its address
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
Server((sys.argv[1], int(sys.argv[2])), Say).serve_forever()
END_OF_SERVER
service=$(free_port)
start_process outside_server nsenter -t "$outside" -n python3 "$TMPDIR/say.py" 10.77.0.1 "$service" it-is-outside
start_process outside_server6 nsenter -t "$outside" -n python3 "$TMPDIR/say.py" fd77::1 "$service" it-is-outside
start_process loopback_server python3 "$TMPDIR/say.py" 127.0.0.1 "$service" it-is-the-host
start_process loopback_server6 python3 "$TMPDIR/say.py" ::1 "$service" it-is-the-host
ok "the host reaches all of them" wait_until 10 eval '[ "$(curl -gs "http://127.0.0.1:$service/" "http://[::1]:$service/" "http://10.77.0.1:$service/" "http://[fd77::1]:$service/")" = it-is-the-hostit-is-the-hostit-is-outsideit-is-outside ]'

publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
forwarded=$(free_port)
start_guest tiny "$url/tiny" "
# Not wget: the one of Debian 12's busybox-static crashes.
get() { { printf 'GET / HTTP/1.0\r\n\r\n'; sleep \$1; } | nc -w \$1 \$2 $service 2>&1 | tail -n 1; }
until ip route | grep -q default; do sleep 0.2; done
echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6 # begin with IPv6 anew
for try in \$(seq 50); do ip -6 route | grep -q default && break; sleep 0.2; done; sleep 2
ip addr show dev eth0
for try in 1 2 3 4 5 6 7; do world=\$(get 3 10.77.0.1); [ -z \"\$world\" ] || break; done
echo world \$world
for host in 127.0.0.1 10.77.0.2 10.0.2.2 10.0.2.3 169.254.1.1 169.254.2.2 192.168.122.1 ::1 fd77::1 fd77::2 fe80::1%eth0; do
	echo \"host \$host: \$(get 3 \$host)\" &
done
gateway=\$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')
echo gateway \$gateway: \$(get 3 \$gateway) &
gateway=\$(ip -6 route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')
echo gateway6 \$gateway: \$(get 3 \$gateway%eth0) &
wait
echo tried
mkdir /run/www; echo it-is-the-guest >/run/www/index.html; httpd -p 8080 -h /run/www
echo serving; read line; poweroff" --port "$forwarded:8080"
ok "the guest gets an address by DHCP" guest_shows tiny 'inet 10\.77\.0\.2/24'
ok "and reaches a server on the network" guest_shows tiny 'world it-is-outside'
ok "it tries to reach the host itself" guest_shows tiny '^tried' 120
ok "it has an address of IPv6, too" guest_shows tiny 'inet6 fd77:' 1
ok "its gateway is no way to the host's loopback" guest_shows tiny 'gateway 10\.77\.0\.1: it-is-outside' 1
is "$(grep -ac '^host .*: ' "$TMPDIR/tiny.console")" 11 "all addresses were tried"
not_ok "and none of them is" grep -a 'it-is-the-host' "$TMPDIR/tiny.console"
ok "a server in the guest" guest_shows tiny '^serving'
is "$(curl -s --max-time 20 "http://127.0.0.1:$forwarded/")" it-is-the-guest "--port forwards to it, on the host itself"
is "$(outside curl -s --max-time 20 "http://10.77.0.2:$forwarded/")" it-is-the-guest "and from outside"
not_ok "no other port is forwarded" outside curl -s --max-time 5 http://10.77.0.2:8080/
tell_guest tiny
end_guest tiny
is "$status" 0 "it ends well"
not_ok "the port is free again" curl -s --max-time 5 "http://127.0.0.1:$forwarded/"

run_rondo run "$url/tiny" --ephemeral --net none --timeout 120 --append \
	"ro $(guest_command "echo interfaces \$(ls /sys/class/net); nc -w 3 10.77.0.1 $service </dev/null; poweroff")"
status_is 0 "a machine without a network"
like "$(tr -d '\r' <"$TMPDIR/run.out")" $'interfaces lo\n' "has no interface"
like "$out" 'Network is unreachable' "and reaches nothing"

ip link del eth0
run_rondo run "$url/tiny" --ephemeral --timeout 120 --append "ro $(guest_command "echo interfaces \$(ls /sys/class/net); poweroff")"
status_is 0 "on a host without a network a machine runs, too"
like "$err" "no network for" "and why it has none is said"
run_rondo run "$url/tiny" --ephemeral --timeout 120 --port "$forwarded:8080"
status_is 9 "but not with --port: exit code 9"
run_rondo ps --json
is "$(jq -r '.[].state' <<<"$out")" stopped "nothing of them is left"
done_testing
