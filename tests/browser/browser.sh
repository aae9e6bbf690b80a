# shellcheck shell=bash
# The browser of tests, for scripts that drive one: sourced behind lib.sh.
#
#   need_browser        skips the whole file where there is no Chromium, or not what drives it; sets and exports $CHROMIUM
#   make_logo FILE      a PNG of one dot
#   drive SCRIPT KIND   node SCRIPT (of tests/browser) at $url, which tells its results, and leaves pictures in $BUILD/screenshots.
#                       Sets $link and $command to those that it took away, if it did

link='' command=''

need_browser() {
	need node
	CHROMIUM=$(command -v chromium) || skip_all "there is no chromium: tests/prerequisites browser installs it"
	[ -e "$ROOT/tests/browser/node_modules/playwright-core" ] ||
		skip_all "there is no playwright-core: tests/prerequisites browser installs it"
	export CHROMIUM
}

make_logo() {
	printf 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==' | base64 -d >"$1"
}

drive() {
	local code line
	mkdir -p "$BUILD/screenshots"
	node "$ROOT/tests/browser/$1" "$url" "$BUILD/screenshots" "$2" >"$TMPDIR/$2.out" 2>"$TMPDIR/$2.err"
	code=$?
	while IFS= read -r line; do
		case $line in
		"ok "*) pass "$2: ${line#ok }" ;;
		"not ok "*) fail "$2: ${line#not ok }" ;;
		# shellcheck disable=SC2034 # for the tests
		"link "*) link=${line#link } ;;
		# shellcheck disable=SC2034
		"command "*) command=${line#command } ;;
		esac
	done <"$TMPDIR/$2.out"
	is "$code" 0 "$2: the browser was driven to the end" || diag_file "$TMPDIR/$2.err"
}
