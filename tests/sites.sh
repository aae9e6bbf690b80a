# shellcheck shell=bash
# What tests of sites share, after lib.sh: `. "$(dirname "$0")/../sites.sh"`.
#
#   make_disk FILE MIB [SEED]     a disk of MIB MiB: a third random, a third compressible, the rest zeros, holes and repetitions;
#                                 the same seed makes the same disk
#   change_disk FILE OFFSET SIZE  overwrites bytes at random
#   publish NAME VERSION DISK [OPTION…]   runs rondo publish with $TMPDIR/key (made on first use) to $site; sets what run sets
#   must_publish …                the same, and ends the test if that fails
#   site                          $TMPDIR/site, until the test sets it otherwise
#   check_site DIR                succeeds if everything that the catalog names is there and right: by a script that shares no code
#                                 with Rondo, and by a pull into an empty cache
#   forget                        removes the cache and what is known of sites
#   attack [DIR]                  starts the attack server over DIR ($site): sets $url (ends in /) and $requests (its log)
#   rules RULE…                   what it does from now on (none: behave); empties the log
#   requests [REGEX]              prints how many requests of its log match
#   flip SEED COUNT FILE…         flips a bit at COUNT places of the files (all of them together), the same for the same seed
#   compare FILE MOUNTED          reads both, 16 KiB at a time, and prints "wrong N failed N right N": failed with EIO
#   mount_image IMAGE [OPTION…]   mounts on $TMPDIR/mounted (unmounted at the end); sets what run sets
#   unmount_image                 ends that mount
#   fill FOLDER [KIB]             a file "filler" in the file system of FOLDER, which must be small, leaves so much free (0)
#   measure COMMAND…              as run; sets also $peak (KiB of memory) and $seconds
#   json KEY                      prints a top-level value of the JSON object in $out
#   state_of                      prints a digest of all that no attack may change: what this user knows and decided (RONDO_HOME; of the
#                                 trust database all but its log and when it last asked for what), what is pinned, and each object of the cache
#                                 that is not what its name says
#   withstands WHAT CODE MESSAGE ASKED COMMAND…   one result, of a command under the attack that was set up: it ends with the exit code
#                                 CODE; what it says matches the regex MESSAGE; of the attack server nothing was asked but /ASKED (a
#                                 regex for a whole path; ""  if it may ask nothing); it stays under 64 MiB, and does not take a
#                                 minute. A refusal (CODE is not 0) prints no data, and state_of stays as it was. Sets what measure sets

site=$TMPDIR/site
url='' requests=''

make_disk() {
	perl -e '
		my ($file, $mib, $seed) = @ARGV;
		open(my $f, ">", $file) or die "$file: $!";
		binmode $f;
		srand($seed);
		for my $piece (0 .. $mib * 8 - 1) {           # of 128 KiB
			my $kind = $piece % 6;
			my $bytes;
			if ($kind < 2) {                          # random
				$bytes = pack("L*", map { int rand 4294967296 } 1 .. 32768);
			} elsif ($kind < 4) {                     # compressible, each block another
				$bytes = join "", map { substr(("block $piece $_ of $seed " . int(rand 1e9)) x 300, 0, 4096) } 1 .. 32;
			} elsif ($kind == 4) {                    # the same block everywhere, and zeros
				$bytes = (substr("same $seed " x 600, 0, 4096) . "\0" x 4096) x 16;
			} else {                                  # a hole
				seek($f, 131072, 1);
				next;
			}
			print $f $bytes;
		}
		truncate($f, $mib << 20);
		close($f) or die "$file: $!";' "$1" "$2" "${3:-1}"
}

change_disk() {
	head -c "$3" /dev/urandom | dd of="$1" bs=65536 oflag=seek_bytes seek="$2" conv=notrunc status=none
}

need_key() {
	[ -e "$TMPDIR/key" ] || "$BUILD/rondo" key new "$TMPDIR/key" >/dev/null 2>&1 || bail_out "a key can be made"
}

publish() {
	local name=$1 version=$2 disk=$3
	shift 3
	need_key
	run_rondo publish --name "$name" --version "$version" --disk "$disk" --key "$TMPDIR/key" --to "$site" "$@"
}

must_publish() {
	publish "$@"
	[ "$status" -eq 0 ] || {
		diag_file "$TMPDIR/run.err"
		bail_out "publish $1 $2"
	}
}

check_site() {
	local line
	python3 "$ROOT/tests/check_site.py" "$1" >"$TMPDIR/check.list" || return 1
	while read -r line; do
		RONDO_CACHE=$TMPDIR/check.cache RONDO_HOME=$TMPDIR/check.home "$BUILD/rondo" pull "$(realpath "$1")/$line" || return 1
	done <"$TMPDIR/check.list"
	rm -rf "$TMPDIR/check.cache" "$TMPDIR/check.home"
}

forget() {
	rm -rf "$RONDO_CACHE" "$RONDO_HOME"
}

attack() {
	local folder=${1:-$site} number=${attack_count:=0}
	attack_count=$((number + 1))
	requests=$TMPDIR/requests.$number
	attack_script=$TMPDIR/rules.$number
	: >"$attack_script"
	start_process "attack.$number" python3 "$ROOT/tests/hostile/attack_server.py" "$folder" --log "$requests" --script "$attack_script"
	wait_until 10 grep -q '^ready ' "$TMPDIR/attack.$number.log" || bail_out "the attack server starts"
	url=http://127.0.0.1:$(awk '{ print $2 }' "$TMPDIR/attack.$number.log")/
}

rules() {
	[ $# -eq 0 ] || printf '%s\n' "$@" >"$attack_script.new"
	[ $# -ne 0 ] || : >"$attack_script.new"
	mv "$attack_script.new" "$attack_script"
	: >"$requests"
}

requests() {
	[ -e "$requests" ] || {
		echo 0
		return
	}
	grep -Ec -- "${1:-.}" "$requests" || true
}

json() {
	python3 -c 'import json, sys; v = json.load(sys.stdin)[sys.argv[1]]; print(json.dumps(v) if isinstance(v, bool) else v)' "$1" <<<"$out"
}

flip() {
	python3 -c '
import os, random, sys
random.seed(int(sys.argv[1]))
files = sorted(sys.argv[3:])
sizes = [os.path.getsize(f) for f in files]
for _ in range(int(sys.argv[2])):
    file = random.choices(files, sizes)[0]
    with open(file, "r+b") as f:
        at = random.randrange(os.path.getsize(file))
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << random.randrange(8)]))' "$@"
}

compare() {
	python3 -c '
import errno, os, sys
a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:])
counts = dict(wrong=0, failed=0, right=0)
size = os.fstat(a).st_size
if os.fstat(b).st_size != size:
    sys.exit("the sizes differ")
for at in range(0, size, 16384):
    wanted, got, failed = os.pread(a, 16384, at), b"", False
    while len(got) < len(wanted) and not failed:  # what comes before a failure comes alone
        try:
            piece = os.pread(b, len(wanted) - len(got), at + len(got))
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            failed = True
        else:
            failed = not piece
            got += piece
    counts["wrong" if not wanted.startswith(got) else "failed" if failed else "right"] += 1
print(*(f"{k} {v}" for k, v in counts.items()))' "$@"
}

mount_image() {
	local image=$1
	shift
	if [ ! -d "$TMPDIR/mounted" ]; then
		mkdir "$TMPDIR/mounted"
		at_exit 'fusermount3 -qu "$TMPDIR/mounted"'
	fi
	run_rondo mount "$@" "$image" "$TMPDIR/mounted"
}

unmount_image() {
	run_rondo umount "$TMPDIR/mounted"
}

measure() {
	run env time --quiet --format '%M %e' --output "$TMPDIR/measured" "$@"
	# shellcheck disable=SC2034 # for the tests
	read -r peak seconds <"$TMPDIR/measured"
	seconds=${seconds%.*}
}

fill() {
	local size available free=${2:-0}
	rm -f "$1/filler"
	read -r size available < <(df --output=size,avail -k "$1" | tail -n 1)
	[ "$size" -lt 100000 ] || bail_out "$1 is no small file system"
	[ "$available" -le "$free" ] || head -c $(((available - free) * 1024)) /dev/zero >"$1/filler" 2>/dev/null
}

state_of() {
	local tables rows
	{
		find "$RONDO_HOME" "$RONDO_CACHE/pins" -type f ! -name 'trust.*' -exec sha256sum {} + | sort
		find "$RONDO_CACHE/objects" -type f -exec sha256sum {} + | awk '{ name = $2; sub(".*/", "", name); if ($1 != name) print name }' | sort
		if [ -e "$RONDO_HOME/trust.db" ]; then
			tables=$(sqlite3 -readonly "$RONDO_HOME/trust.db" "select name from sqlite_schema where type = 'table' and name not in ('contacts', 'log')") &&
				rows=$(sqlite3 -readonly "$RONDO_HOME/trust.db" ".dump ${tables//$'\n'/ }" 'select address, quote(bytes) from contacts order by 1') ||
				rows="unreadable $RANDOM"
			grep -vE '^(PRAGMA|BEGIN|CREATE|COMMIT)' <<<"$rows" # a database without rows is as good as none
		fi
	} 2>/dev/null | sha256sum
}

withstands() {
	local what=$1 code=$2 message=$3 asked=$4 before strays wrong=0
	shift 4
	before=$(state_of)
	measure timeout 60 "$@"
	strays=$(grep -Ev -- "^[A-Z]+ /(${asked:-\$}) " "$requests")
	complain() {
		diag "$1"
		wrong=1
	}
	[ "$status" -eq "$code" ] || complain "exit code $status, wanted $code"
	[[ $err =~ $message ]] || complain "its message does not match: $message"
	[ -z "$strays" ] || complain "it asked for what it should not: $strays"
	[ -z "$asked" ] || [ -s "$requests" ] || complain "it never asked the attack server"
	[ "$peak" -lt 65536 ] || complain "it took $peak KiB of memory"
	if [ "$code" -ne 0 ]; then
		[ -z "$out" ] || complain "it printed data: $out"
		[ "$(state_of)" = "$before" ] || complain "what is known, pinned or kept has changed"
	fi
	tap_result $wrong "$what" && return 0
	diag "command: $*"
	diag_file "$TMPDIR/run.err"
	return 1
}
