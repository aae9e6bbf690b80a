# shellcheck shell=bash
# For tests that publish an appliance, serve it and boot it. Sourced after lib.sh.
#
#   publish_appliance NAME SITE [OPTION…]   builds it if need be (tests/images.sh), makes $TMPDIR/key, publishes as version 1
#                                           (or with --version among the options)
#   serve_site SITE                         rondo-server on a free port: sets $port, $url, $server, $access (its log)
#   guest_command COMMAND                   prints the --append value that makes tiny run COMMAND at boot (rondo.run)
#   machine_state NAME                      prints the state that rondo ps shows
#   cloop_pid                               prints the process id of this test's rondo-cloop, if it runs

appliance_field() { # DIRECTORY KEY
	sed -n "s/^$2 //p" "$1/appliance.conf"
}

publish_appliance() {
	local name=$1 site=$2 image version=(--version 1)
	shift 2
	image=$("$ROOT/tests/images.sh" "$name") || skip_all "the appliance $name cannot be built here"
	case " $* " in *" --version "*) version=() ;; esac
	[ -f "$TMPDIR/key" ] || rondo key new "$TMPDIR/key" >/dev/null 2>&1 || bail_out "key new"
	rondo publish --name "$name" "${version[@]}" --key "$TMPDIR/key" --to "$site" --disk "$image/disk" \
		--kernel "$image/kernel" --initrd "$image/initrd" --cmdline "$(appliance_field "$image" cmdline)" \
		--memory "$(appliance_field "$image" memory)" --ready "$(appliance_field "$image" ready)" "$@" \
		>"$TMPDIR/publish.out" 2>"$TMPDIR/publish.err" || {
		diag_file "$TMPDIR/publish.err"
		bail_out "publish $name"
	}
}

serve_site() {
	access=$TMPDIR/access.log
	port=$(free_port)
	url=http://127.0.0.1:$port
	start_process server rondo-server --listen "127.0.0.1:$port" --log "$access" "$1"
	server=$process
	wait_for_port "$port" || bail_out "rondo-server does not answer"
}

guest_command() {
	printf 'rondo.run=%s' "$(printf '%s' "$1" | base64 -w 0)"
}

machine_state() {
	rondo ps --json | jq -r --arg name "$1" '.[] | select(.name == $name) | .state'
}

cloop_pid() {
	local environment
	for environment in $(grep -lzxF "TMPDIR=$TMPDIR" /proc/[0-9]*/environ 2>/dev/null); do
		[ "$(readlink "${environment%environ}exe")" != "$(realpath "$BUILD/rondo-cloop")" ] || {
			environment=${environment%/environ}
			echo "${environment##*/}"
		}
	done
}
