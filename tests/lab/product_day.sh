#!/bin/bash
# time-limit: 1500
# On a real KVM a day with a machine, as in tests/e2e/day.sh: install something, keep it, break it, go back, commit it as the next version,
# run that elsewhere, and offline, three times at once. The site is in the lab, too.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/lab/lib.sh"
. "$ROOT/tests/lab/product_lib.sh"
long_test "nine starts of Rondo's programs in the lab take minutes"
need_product
tiny=$("$ROOT/tests/images.sh" tiny) || skip_all "the appliance tiny cannot be built here"
port=0 # nothing of this host is asked for

cat >"$TMPDIR/day" <<END
cmdline="$(appliance_field "$tiny" cmdline)"
END
cat >>"$TMPDIR/day" <<'END'
rondo key new /tmp/key </dev/null
check "a first version is published" rondo publish --name tiny --version 1 --disk /tiny/disk --kernel /tiny/kernel --initrd /tiny/initrd \
	--cmdline "$cmdline" --memory 128M --ready login: --key /tmp/key --to /tmp/site
ip link set lo up
url=http://127.0.0.1:8080
rondo serve /tmp/site --listen 127.0.0.1:8080 --log /tmp/access >/tmp/server.said 2>&1 &
check "and served" wait_until 20 grep -q listening /tmp/server.said
elsewhere() {
	RONDO_HOME=/tmp/there/home RONDO_CACHE=/tmp/there/cache RONDO_RUNTIME=/tmp/there/runtime "$@"
}
check "elsewhere has it" elsewhere rondo pull "$url/tiny:1"
tiny() { # COMMAND: the machine runs it, and ends
	rondo run "$url/tiny:1" --name tiny --engine kvm --net none --timeout 300 --append "rw rondo.run=$(base64_of "$1; sync; poweroff")" \
		>/tmp/tiny.console 2>/tmp/tiny.said
}
shown() {
	grep -a "$1" /tmp/tiny.console
}
check "a machine runs" tiny "printf '#!/bin/sh\necho hello from the package\n' >/bin/hello; chmod 755 /bin/hello; head -c 800000 /dev/urandom >/usr/hello; hello"
check "a program is installed, and works" shown '^hello from the package'
check "it is kept as a snapshot" rondo snapshot tiny installed
tiny 'rm /bin/hello /usr/hello; hello || echo it is broken'
check "it is broken" shown '^it is broken'
check "it is rolled back" rondo rollback tiny installed
tiny 'hello'
check "what was installed is there again" shown '^hello from the package'
check "it is committed as the next version" rondo commit tiny --name tiny --version 2 --key /tmp/key --to /tmp/site
lines=$(wc -l </tmp/access)
check "elsewhere the next version runs" elsewhere rondo run "$url/tiny:2" --engine kvm --net none --ephemeral --until login: --timeout 300
check "and is pulled" elsewhere rondo pull "$url/tiny:2"
bytes=$(tail -n +$((lines + 1)) /tmp/access | awk '{ sum += $6 } END { print sum }')
echo "fetched $bytes bytes of a change of more than 800000"
check "at most 1.2 times the change was fetched" [ "$bytes" -le 960000 ]
check "which was fetched" [ "$bytes" -ge 800000 ]
kill %1 $(process_of rondo-server) $(process_of rondo-cloop)
nobody() {
	[ -z "$(process_of rondo-server)$(process_of rondo-cloop)" ]
}
check "the server is gone" wait_until 20 nobody
attempts() { # to connect over TCP, and datagrams that were sent: proc(5), RFC 1213
	awk '$1 == "Tcp:" { tcp = $6 } $1 == "Udp:" { udp = $5 } END { print tcp, udp }' /proc/net/snmp
}
before=$(attempts)
for n in a b c; do
	elsewhere rondo run "$url/tiny:2" --name $n --engine kvm --offline --net none --append "rw rondo.run=$(base64_of hello)" >/tmp/$n.console 2>/tmp/$n.said &
	eval "run_$n=$!"
done
for n in a b c; do
	check "without a server, machine $n comes to its login prompt" wait_until 300 grep -qa 'login:' /tmp/$n.console
	check "with what was installed" grep -a '^hello from the package' /tmp/$n.console
done
check "three of them run at once" eval '[ "$(elsewhere rondo ps | grep -c running)" = 3 ]'
check "nothing tried to connect to a network" [ "$(attempts)" = "$before" ]
for n in a b c; do
	check "machine $n is told to end" elsewhere rondo stop $n --timeout 100
done
check "and they do" wait $run_a $run_b $run_c
END
lab_product --program "$BUILD/rondo-server" --time-limit 1400 --file "$tiny/disk:/tiny/disk" --file "$tiny/kernel:/tiny/kernel" \
	--file "$tiny/initrd:/tiny/initrd" <"$TMPDIR/day"
done_testing
