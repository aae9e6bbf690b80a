#!/bin/bash
# time-limit: 400
# A publisher with a user account of their own publishes over HTTP; a visitor finds the image in the browser, copies the command, and it
# boots, as another user; then the publisher's update is there.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/publishers.sh"
. "$ROOT/tests/users.sh"
. "$ROOT/tests/browser/browser.sh"
need python3 perl curl qemu-system-x86_64 passt debugfs
need_fuse
need_browser
need_users
image=$("$ROOT/tests/images.sh" tiny) || skip_all "the appliance tiny cannot be built here"

# The operator has a site, with an image of their own, and lets the publisher, of whom the public key is known, publish harbour and harbour.*.
make_keys owner
make_user publisher 61001
cp "$image/kernel" "$image/initrd" "$image/disk" "$user/"
make_logo "$user/logo.png"
printf 'Boots in sight of the *lighthouse*.\n' >"$user/description.md"
chown 61001 "$user"/{kernel,initrd,disk,logo.png,description.md}
run as_user publisher rondo key new mine
status_is 0 "a publisher makes a key"
run_rondo renew "$site" --key "$TMPDIR/owner" --allow "$out:harbour"
status_is 0 "the operator gives names to it"
start_keeper --site-key "$TMPDIR/owner"

publishes() { # VERSION
	run as_user publisher rondo publish --to "$url" --key mine --name harbour.tiny --version "$1" --disk disk --kernel kernel --initrd initrd \
		--cmdline "$(appliance_field "$image" cmdline)" --memory "$(appliance_field "$image" memory)" --ready "$(appliance_field "$image" ready)" \
		--title 'Tiny of the harbour' --summary 'A small Linux' --description description.md --logo logo.png
}
publishes 1
status_is 0 "the publisher publishes over HTTP"
is "$(find "$site" ! -user "$(id -u)")" "" "nothing in the site belongs to them"
drive story.mjs finds

# The visitor's shell gets what was copied, as it is; what stands behind it ends the machine when it is there.
as_user nobody sh -c "$command --until 'login:' --timeout 300" </dev/null >"$TMPDIR/boot.out" 2>"$TMPDIR/boot.err" &
boot=$!

echo 'A new lamp' >"$TMPDIR/motd"
debugfs -w -R "write $TMPDIR/motd /etc/motd" "$TMPDIR/publisher/disk" >"$TMPDIR/debugfs.log" 2>&1
first=$command
publishes 2
status_is 0 "the publisher publishes an update"
like "$err" 'harbour\.tiny 2: .* [0-9]?[0-9] blocks new' "of a few blocks"
drive story.mjs returns
like "$command" ":2@sha256:$(awk '$2 == "harbour.tiny" && $3 == 2 { print $5 }' "$site/catalog.rondo")#$(key_of owner)'\$" "the page's command names the update, and the operator's key"

wait "$boot"
is "$?" 0 "what was copied boots, up to the prompt" || diag_file "$TMPDIR/boot.err"
like "$(tr -d '\0' <"$TMPDIR/boot.out")" 'login:' "which is shown"
unlike "$first" "$command" "it was the version before"
done_testing
