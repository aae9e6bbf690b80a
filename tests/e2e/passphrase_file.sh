#!/bin/bash
# RONDO_KEY_PASSPHRASE_FILE: an encrypted key is opened without a terminal, by a passphrase that nobody else may read.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need perl mkfifo

cd "$TMPDIR" || bail_out "no folder"
no_terminal() { # COMMAND…
	run setsid -w "$@" </dev/null
}
umask 077
printf 'correct horse\nsecond line\n' >words
no_terminal env RONDO_KEY_PASSPHRASE_FILE=words "$BUILD/rondo" key new key
status_is 0 "key new takes the passphrase from the file"
like "$(head -n 1 key)" 'encrypted secret key' "and the key is encrypted"
make_disk disk 1 1
publish_with() { # VERSION COMMAND…: with the environment of env
	local version=$1
	shift
	no_terminal "$@" "$BUILD/rondo" publish --name image --version "$version" --disk disk --key key --to "$site"
}
publish_with 1 env
status_is 9 "no file, no terminal: exit code 9"
like "$err" 'RONDO_KEY_PASSPHRASE_FILE=FILE' "and the way out is named"
publish_with 1 env RONDO_KEY_PASSPHRASE_FILE=words
status_is 0 "publish with the file"

# What is not believed; none of it asks scrypt.
renew_with() { # FILE
	no_terminal env RONDO_KEY_PASSPHRASE_FILE="$1" "$BUILD/rondo" renew "$site" --key key
}
before=$(sha256sum "$site/catalog.rondo")
chmod 640 words
renew_with words
status_is 9 "a file that the group may read: exit code 9"
like "$err" 'open to others \(mode 0640\).*chmod 600 words' "with its mode and what to do"
chmod 600 words
renew_with none
status_is 3 "no such file: exit code 3"
like "$err" 'key: cannot read none' "and it is named"
renew_with "$TMPDIR"
status_is 2 "a folder: exit code 2"
: >empty
renew_with empty
status_is 2 "an empty file: exit code 2"
printf '\nwords\n' >empty
renew_with empty
status_is 2 "an empty first line: exit code 2"
like "$err" 'its first line is empty' "and says so"
head -c 5000 /dev/zero | tr '\0' x >long
renew_with long
like "$status $err" '^2 .*more than 1023 bytes' "a line without end: exit code 2, and no more of it is read"
printf 'correct\0 horse\n' >nul
renew_with nul
like "$status $err" '^2 .*NUL byte' "a NUL byte: exit code 2"
renew_with /dev/null
like "$status $err" '^2 .*neither a file nor a FIFO' "a device: exit code 2"
printf 'wrong horse\n' >wrong
renew_with wrong
like "$status $err" '^5 .*wrong passphrase' "a wrong passphrase: exit code 5"
is "$(sha256sum "$site/catalog.rondo")" "$before" "the site is as it was"

# A FIFO: one line for each key.
mkfifo fifo
"$BUILD/rondo" key new site.key >/dev/null 2>&1 || bail_out "no key"
printf 'correct horse\n' >fifo &
renew_with fifo
status_is 0 "a FIFO"
no_terminal env RONDO_KEY_PASSPHRASE_FILE=fifo timeout -s INT 2 "$BUILD/rondo" renew "$site" --key key
unlike "$status" '^0$' "a FIFO that nobody writes to: Ctrl-C ends it"
like "$err" 'waiting for the passphrase that somebody writes to fifo' "and somebody was told what it waited for"
run bash -c 'RONDO_KEY_PASSPHRASE_FILE=<(echo "correct horse") exec "$@"' - "$BUILD/rondo" renew "$site" --key key
status_is 0 "a shell's <(command)"
done_testing
