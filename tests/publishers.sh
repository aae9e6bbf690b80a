# shellcheck shell=bash
# Publishing over HTTP without rondo's own client, after lib.sh and sites.sh: curl and minisign say what docs/api.md says.
#
#   start_keeper [OPTION…]     rondo-server over $site with its state in $state; sets $server (its process) and $url (ends in /)
#   stop_keeper                ends it
#   make_keys NAME…            key pairs $TMPDIR/NAME and NAME.pub; owner makes the site, with an image "first" 1
#   allow NAME PREFIX          the key may publish these names
#   api METHOD PATH [CURL…]    a request below /api/v1/publish/, with $token if it is set; sets $code and $body
#   challenge NAME             sets $session_text (to be signed) for a challenge to this key
#   sign_text NAME             prints $session_text as NAME signs it
#   open_session NAME          all of it; sets $token
#   make_version NAME IMAGE VERSION DISK   packs and a signed manifest (NAME signs) in $TMPDIR/IMAGE-VERSION, over what the site has
#   objects_of FOLDER          lines "<sha256> <bytes>"
#   send_objects FOLDER        asks what is missing, and sends that; fails if any is refused
#   hand_in FOLDER [QUERY]     the manifest; sets $code and $body
#   value KEY                  a value of $body

state=$TMPDIR/state
server='' token='' code='' body='' session_text=''

start_keeper() {
	rm -f "$TMPDIR/server.log" # the last server's would tell where that one listened
	start_process server rondo-server --listen 127.0.0.1:0 --state "$state" "$@" "$site"
	server=$process
	wait_until 10 grep -q '^listening on' "$TMPDIR/server.log" || {
		diag_file "$TMPDIR/server.log"
		bail_out "the server does not start"
	}
	url=$(sed -n 's/^listening on //p' "$TMPDIR/server.log")
}

stop_keeper() {
	stop_process "$server"
}

make_keys() {
	local name
	for name; do
		"$BUILD/rondo" key new "$TMPDIR/$name" >/dev/null 2>&1 || bail_out "no key $name"
	done
	if [ ! -e "$site" ]; then
		make_disk "$TMPDIR/first" 1 77
		"$BUILD/rondo" publish --name first --version 1 --disk "$TMPDIR/first" --key "$TMPDIR/owner" --to "$site" >"$TMPDIR/first.log" 2>&1 ||
			bail_out "no site"
	fi
}

key_of() {
	"$BUILD/rondo" key show "$TMPDIR/$1.pub"
}

allow() {
	"$BUILD/rondo" renew "$site" --key "$TMPDIR/owner" --allow "$(key_of "$1"):$2" >"$TMPDIR/allow.log" 2>&1 || bail_out "renew --allow"
}

api() {
	local method=$1 path=$2
	shift 2
	code=$(curl -s -o "$TMPDIR/body" -w '%{http_code}' -X "$method" ${token:+-H "Authorization: Bearer $token"} "$@" "${url}api/v1/publish/$path")
	body=$(cat "$TMPDIR/body" 2>/dev/null)
}

value() {
	python3 -c 'import json,sys; v = json.loads(sys.argv[1])[sys.argv[2]]; print(" ".join(v) if isinstance(v, list) else v)' "$body" "$1"
}

challenge() {
	token=''
	api POST challenge --data-binary "key $(key_of "$1")
"
	[ "$code" = 200 ] || return 1
	session_text="rondo-publish 1
site $(value site)
id $(value id)
key $(key_of "$1")
challenge $(value challenge)
"
}

sign_text() {
	local file=$TMPDIR/text.$BASHPID
	printf %s "$session_text" >"$file"
	minisign -S -s "$TMPDIR/$1" -m "$file" </dev/null >/dev/null || bail_out "minisign -S"
	cat "$file"
	echo '---'
	cat "$file.minisig"
	rm -f "$file" "$file.minisig"
}

open_session() {
	challenge "$1" || return 1
	sign_text "$1" >"$TMPDIR/session"
	api POST session --data-binary "@$TMPDIR/session"
	[ "$code" = 200 ] && token=$(value token)
}

make_version() {
	local folder=$TMPDIR/$2-$3
	rm -rf "$folder"
	cp -r "$site" "$folder"
	find "$folder/objects" -type f | sort >"$folder.before"
	"$BUILD/rondo" publish --name "$2" --version "$3" --disk "$4" --key "$TMPDIR/$1.pub" --to "$folder" --unsigned "$folder/manifest" \
		>"$TMPDIR/make.log" 2>&1 && "$BUILD/rondo" sign "$folder/manifest" --key "$TMPDIR/$1" >>"$TMPDIR/make.log" 2>&1 || {
		diag_file "$TMPDIR/make.log"
		bail_out "no version"
	}
	find "$folder/objects" -type f | sort | comm -13 "$folder.before" - | while read -r object; do
		echo "${object##*/} $(stat -c %s "$object")"
	done >"$folder/new"
}

objects_of() {
	cat "$1/new"
}

send_objects() {
	local hex bytes offset
	objects_of "$1" >"$TMPDIR/ask"
	api POST missing --data-binary "@$TMPDIR/ask"
	[ "$code" = 200 ] || return 1
	printf '%s\n' "$body" >"$1/missing"
	while read -r hex bytes offset; do
		[ -n "$hex" ] || continue
		tail -c +$((offset + 1)) "$1/objects/${hex:0:2}/$hex" >"$1/part"
		api PUT "objects/$hex" -H "Content-Range: bytes $offset-$((bytes - 1))/$bytes" --data-binary "@$1/part" </dev/null
		[ "$code" = 201 ] || return 1
	done <"$1/missing"
}

hand_in() {
	api POST "manifest${2:-}" --data-binary "@$1/manifest.signed"
}
