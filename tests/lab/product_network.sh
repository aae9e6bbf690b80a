#!/bin/bash
# time-limit: 1500
# On a real KVM a guest has a network: an address from passt by DHCP, a server outside, a port forwarded into it, or none; Debian's
# apt fetches through it.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/lab/lib.sh"
. "$ROOT/tests/lab/product_lib.sh"
long_test "the network of a guest in the lab takes minutes"
need_product
publish_appliance tiny "$TMPDIR/site"
publish_appliance debian "$TMPDIR/site"
serve_site "$TMPDIR/site"
mkdir "$TMPDIR/web"
head -c 3000000 /dev/urandom >"$TMPDIR/web/file"
service=$(free_port)
start_process web python3 -m http.server --bind 127.0.0.1 --directory "$TMPDIR/web" "$service"
wait_for_port "$service" || bail_out "the web server does not answer"

guest="until ip route | grep -q default; do sleep 0.2; done
ip addr show dev eth0
{ printf 'GET /file HTTP/1.0\r\n\r\n'; sleep 20; } | nc -w 60 10.0.2.2 $service | sed '1,/^\r\$/d' >/run/file
echo received \$(sha256sum </run/file)
mkdir /run/www; cp /run/file /run/www/file; httpd -p 8080 -h /run/www
echo serving; read line; poweroff"
hash=$(sha256sum <"$TMPDIR/web/file" | cut -d ' ' -f 1)
lab_product --time-limit 1400 <<END
check "a machine with a network starts" begin tiny tiny --port 18080:8080 --append "ro $(guest_command "$guest")"
check "its guest gets an address by DHCP" shows tiny 'inet 10\.0\.2\.15/24'
check "and 3 MB from a server outside, as they are" shows tiny 'received $hash'
check "it serves" shows tiny '^serving'
check "--port reaches it" eval '[ "\$(wget -q -O - http://127.0.0.1:18080/file | sha256sum)" = "$hash  -" ]'
check "passt is there" eval '[ -n "\$(process_of passt)\$(process_of passt.avx2)" ]'
type_in tiny
check "switched off, it ends with exit code 0" ended tiny 0
check "nobody says that its network was lost" eval '! grep "no network" /tmp/tiny.said'
check "passt has ended with it" eval '[ -z "\$(process_of passt)\$(process_of passt.avx2)" ]'
check "the port is free again" eval '! wget -q -O /dev/null http://127.0.0.1:18080/file'
begin other tiny --net none --append "ro $(guest_command 'echo interfaces $(ls /sys/class/net) end; poweroff')"
check "without a network a guest has no interface" shows other '^interfaces lo end'
check "and ends as well" ended other 0
begin debian debian
check "Debian starts" shows debian 'debian login:' 600
type_in debian root
check "root logs in" shows debian 'root@debian' 100
type_in debian 'until ip route | grep -q default; do sleep 1; done; /usr/lib/apt/apt-helper download-file http://10.0.2.2:$service/file /tmp/file; sha256sum /tmp/file'
check "its apt fetches a file from a server outside" shows debian '^$hash'
check "rondo stop switches it off" rondo stop debian --timeout 300
check "in order" ended debian 0 10
END
done_testing
