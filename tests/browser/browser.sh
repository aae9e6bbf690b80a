# shellcheck shell=bash
# The browser of tests, for scripts that drive one: sourced behind lib.sh.
#
#   need_browser     skips the whole file where there is no Chromium, or not what drives it; sets and exports $CHROMIUM

need_browser() {
	need node
	CHROMIUM=$(command -v chromium) || skip_all "there is no chromium: tests/prerequisites browser installs it"
	[ -e "$ROOT/tests/browser/node_modules/playwright-core" ] ||
		skip_all "there is no playwright-core: tests/prerequisites browser installs it"
	export CHROMIUM
}
