# shellcheck shell=bash
# For tests that publish an appliance, serve it and boot it. Sourced after lib.sh.
#
#   publish_appliance NAME SITE [OPTION…]   builds it if need be (tests/images.sh), makes $TMPDIR/key, publishes as version 1
#                                           (or with --version among the options), with the disk $appliance_disk if that is set
#   serve_site SITE                         rondo-server on a free port: sets $port, $url, $server, $access (its log)
#   guest_command COMMAND                   prints the --append value that makes tiny run COMMAND at boot (rondo.run)
#   machine_state NAME                      prints the state that rondo ps shows
#   machine_is NAME STATE                   true if it is in that state
#   machine_reason NAME                     prints why it is paused
#   large_disk NAME FILE MIB [SEED]         the disk of the appliance NAME with MIB of random bytes behind its file system
#   start_guest NAME IMAGE COMMAND [OPTION…]  tiny, detached, runs COMMAND at boot; nothing but what it reads is fetched; its
#                                           disk is mounted as $guest_mode says: ro (so that its bytes stay those that were
#                                           published) or rw. Its console goes to $TMPDIR/NAME.console, what rondo says to
#                                           $TMPDIR/NAME.said
#   tell_guest NAME [LINE]                  types a line into it: COMMAND can wait for one with `read line`
#   guest_shows NAME REGEX [SECONDS]        waits until the console shows it (180 s)
#   rondo_says NAME REGEX [SECONDS]         waits until rondo says it to whoever watches the console (60 s)
#   end_guest NAME [SECONDS]                waits until it has ended (180 s); sets $status to the exit code of its console
#   cloop_pid                               prints the process id of this test's rondo-cloop, if it runs

appliance_field() { # DIRECTORY KEY
	sed -n "s/^$2 //p" "$1/appliance.conf"
}

publish_appliance() {
	local name=$1 site=$2 image disk version=(--version 1)
	shift 2
	image=$("$ROOT/tests/images.sh" "$name") || skip_all "the appliance $name cannot be built here"
	case " $* " in *" --version "*) version=() ;; esac
	disk=${appliance_disk:-$image/disk}
	[ -f "$TMPDIR/key" ] || rondo key new "$TMPDIR/key" >/dev/null 2>&1 || bail_out "key new"
	rondo publish --name "$name" "${version[@]}" --key "$TMPDIR/key" --to "$site" --disk "$disk" \
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

machine_is() {
	[ "$(machine_state "$1")" = "$2" ]
}

machine_reason() {
	rondo ps --json | jq -r --arg name "$1" '.[] | select(.name == $name) | .reason'
}

large_disk() {
	local image
	image=$("$ROOT/tests/images.sh" "$1") || skip_all "the appliance $1 cannot be built here"
	cp --sparse=always "$image/disk" "$2"
	python3 -c '
import random, sys
random.seed(int(sys.argv[2]))
for _ in range(int(sys.argv[1])):
    sys.stdout.buffer.write(random.randbytes(1 << 20))' "$3" "${4:-1}" >>"$2"
}

guest_mode=ro
declare -A guest_input=() guest_console=()

start_guest() {
	local name=$1 image=$2 command=$3 input
	shift 3
	rondo run "$image" --name "$name" --detach --no-keep --append "$guest_mode $(guest_command "$command")" "$@" \
		>"$TMPDIR/$name.out" 2>"$TMPDIR/$name.err" || {
		diag_file "$TMPDIR/$name.err"
		diag_file "$RONDO_HOME/instances/$name/machine.log"
		bail_out "machine $name starts"
	}
	rm -f "$TMPDIR/$name.in"
	mkfifo "$TMPDIR/$name.in"
	exec {input}<>"$TMPDIR/$name.in"
	guest_input[$name]=$input
	rondo console "$name" <"$TMPDIR/$name.in" >"$TMPDIR/$name.console" 2>"$TMPDIR/$name.said" &
	guest_console[$name]=$!
}

tell_guest() {
	printf '%s\n' "${2:-}" >&"${guest_input[$1]}"
}

guest_shows() {
	wait_until "${3:-180}" grep -qaE -- "$2" "$TMPDIR/$1.console" && return 0
	tail -n 20 "$TMPDIR/$1.console" | tr -d '\0'
	cat "$TMPDIR/$1.said"
	return 1
}

rondo_says() {
	wait_until "${3:-60}" grep -qE -- "$2" "$TMPDIR/$1.said" && return 0
	cat "$TMPDIR/$1.said"
	return 1
}

console_ended() {
	! kill -0 "$1"
}

end_guest() {
	wait_until "${2:-180}" console_ended "${guest_console[$1]}" || {
		status=-1
		return 1
	}
	wait "${guest_console[$1]}"
	status=$?
}

cloop_pid() {
	local environment
	for environment in $(grep -lzxF "TMPDIR=$TMPDIR" /proc/[0-9]*/environ 2>/dev/null); do
		[ "$(readlink "${environment%environ}exe")" != "$(realpath "$BUILD/rondo-cloop")" ] || grep -qxE "rondo-(unmount|open)" "${environment%environ}comm" || {
			environment=${environment%/environ}
			echo "${environment##*/}"
		}
	done
}
