#!/bin/bash
# A link is opened: what it would start is shown, and asked; no starts nothing, yes boots it to its prompt, and its end leaves nothing.
# Without a terminal the question comes in a dialog, and the machine runs on by itself.
# time-limit: 600
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 python3 jq
need_fuse
export TERMINAL_SECONDS=180
publish_appliance tiny "$TMPDIR/site" --title "A small Linux" --show-port 80:web
serve_site "$TMPDIR/site"
link=rondo://${url#http://}
key=$(rondo key show "$TMPDIR/key")

terminal() { # SCRIPT COMMAND…
	printf '%s\n' "$1" >"$TMPDIR/script"
	shift
	run python3 "$ROOT/tests/e2e/console_terminal.py" "$TMPDIR/script" "$@"
}

terminal $'wait [y/N]\ntype n\\n\nend' rondo open "$link/tiny"
like "$out" "exit 11" "n: exit code 11"
like "$out" "image +tiny 1" "it shows the version"
like "$out" "title +A small Linux" "its title"
like "$out" "publisher +$key" "its publisher's key"
like "$out" "size +[0-9.]+ [KM]iB" "how much there is to fetch"
like "$out" "memory +[0-9.]+ MiB" "and the memory"
is "$(rondo ps --json) $(rondo trust ls --json)" "[] []" "nothing was started, nothing is remembered of the site"
for answer in '' no yea 'yes please' Start; do
	terminal $'wait [y/N]\ntype '"$answer"$'\\n\nend' rondo open "$link/tiny"
	like "$out" "exit 11" "\"$answer\" is no yes"
done
terminal $'wait [y/N]\ntype \\x03\nend' rondo open "$link/tiny"
like "$out" "exit 11" "Ctrl-C neither"
terminal $'wait [y/N]\ntype n\\n\nwait Enter closes\ntype \\n\nend' rondo open --hold -- "$link/tiny"
like "$out" "exit 11" "--hold waits before the window is gone"
terminal $'end' rondo open "$link/nothing"
like "$out" "exit 3" "an image that is not there: exit code 3"
terminal $'end' rondo open "$link/tiny#$(rondo key new "$TMPDIR/other" >/dev/null 2>&1; rondo key show "$TMPDIR/other")"
like "$out" "exit 5" "another key than the site's: exit code 5"

terminal $'wait [y/N]\ntype y\\n\nwait login:\ntype \\x1d\nend' rondo open "$link/tiny#$key"
like "$out" "login:" "y boots it to its prompt"
like "$out" "exit 0" "Ctrl-] leaves"
name=$(jq -r '.[0].name' <<<"$(rondo ps --json)")
like "$name" '^tiny-[0-9a-f]{6}$' "it is a machine of its own"
run_rondo stop "$name" --timeout 1
is "$(rondo ps --json)" "[]" "and leaves nothing when it ends"

# A display instead of a terminal.
mkdir "$TMPDIR/desktop"
cat >"$TMPDIR/desktop/zenity" <<END
#!/bin/sh
printf '%s\n' "\$@" >>"$TMPDIR/dialog"
END
chmod +x "$TMPDIR/desktop/zenity"
run setsid env DISPLAY=:99 PATH="$TMPDIR/desktop:$PATH" rondo open "$link/tiny"
status_is 0 "yes in a dialog starts it, too"
like "$(cat "$TMPDIR/dialog")" "publisher +$key" "which showed the same"
like "$(cat "$TMPDIR/dialog")" "It runs, as machine $out. .*rondo console $out" "and says how to reach it"
is "$(machine_state "$out")" running "it runs by itself"
run_rondo stop "$out" --timeout 1
is "$(rondo ps --json)" "[]" "and leaves nothing when it ends"
run setsid env DISPLAY=:99 PATH="$TMPDIR/desktop:$PATH" rondo open "$link/nothing"
status_is 3 "a failure without a terminal"
like "$(tail -n 1 "$TMPDIR/dialog")" "nothing" "is told in a dialog"
run setsid env -u DISPLAY -u WAYLAND_DISPLAY rondo open "$link/tiny"
status_is 2 "neither a terminal nor a display: exit code 2"
like "$err" "rondo run '$url/tiny' --ephemeral" "with the command to type"
done_testing
