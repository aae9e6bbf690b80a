# shellcheck shell=bash
# The browser of tests, for scripts that drive one: sourced behind lib.sh. tests/prerequisites takes old_node from here.
#
#   old_node            true if node is older than what drives the browser takes; prints why
#   no_browser          true if there is no Chromium, or not what drives it; prints why. Else $CHROMIUM is exported
#   need_browser        skips the whole file where there is none
#   make_logo FILE      a PNG of one dot
#   drive SCRIPT KIND   node SCRIPT (of tests/browser) at $url, which tells its results, and leaves pictures in $BUILD/screenshots.
#                       Sets $link and $command to those that it took away, if it did
#   start_drive SCRIPT KIND, drive_results KIND CODE   the same in two steps: what it tells is in $TMPDIR/KIND.out and KIND.err; CODE is
#                       what the first one has returned

link='' command='' browser_folder=$(dirname "${BASH_SOURCE[0]}")

old_node() {
	local wanted version
	wanted=$(sed -n 's/.*"node": ">=\([0-9]*\).*/\1/p' "$browser_folder/package-lock.json")
	version=$(node --version 2>/dev/null) || version=v0
	version=${version#v}
	[ "${version%%.*}" -lt "$wanted" ] && echo "playwright-core needs node $wanted or later, and this is $version"
}

no_browser() {
	CHROMIUM=$(command -v chromium)
	export CHROMIUM
	if ! command -v node >/dev/null; then
		echo "there is no node: tests/prerequisites browser installs it"
	elif [ -z "$CHROMIUM" ]; then
		echo "there is no chromium: tests/prerequisites browser installs it"
	elif ! old_node && [ ! -e "$browser_folder/node_modules/playwright-core" ]; then
		echo "there is no playwright-core: tests/prerequisites browser installs it"
	fi | grep . # true if there is a reason
}

need_browser() {
	! no_browser >"$TMPDIR/no-browser" || skip_all "$(<"$TMPDIR/no-browser")"
}

make_logo() {
	printf 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==' | base64 -d >"$1"
}

start_drive() {
	mkdir -p "$BUILD/screenshots"
	node "$browser_folder/$1" "$url" "$BUILD/screenshots" "$2" >"$TMPDIR/$2.out" 2>"$TMPDIR/$2.err"
}

drive_results() {
	local line
	while IFS= read -r line; do
		case $line in
		"ok "*) pass "$1: ${line#ok }" ;;
		"not ok "*) fail "$1: ${line#not ok }" ;;
		# shellcheck disable=SC2034 # for the tests
		"link "*) link=${line#link } ;;
		# shellcheck disable=SC2034
		"command "*) command=${line#command } ;;
		esac
	done <"$TMPDIR/$1.out"
	is "$2" 0 "$1: the browser was driven to the end" || diag_file "$TMPDIR/$1.err"
}

drive() {
	start_drive "$@"
	drive_results "$2" $?
}
