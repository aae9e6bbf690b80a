#!/bin/bash
# rondo site: a site's pages as plain files. Everything about an image is on its page, and nothing from elsewhere; what is the same is
# not written again; publishers' verbs keep the pages up to date; files of others stay; whoever is interrupted leaves whole files.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign

page=$site/images/tiny/index.html
stamps() { find "$site" -path "$site/objects" -prune -o -type f \( -name '*.html' -o -name '*.js' -o -name '*.svg' -o -name 'logo-*' -o -name pages.rondo \) \
	-printf '%p %i %T@\n' | sort; }
# The text of the page's Nth <code> that holds a word: as a browser would copy it.
code_with() {
	python3 -c 'import html, re, sys
print(next(html.unescape(c) for c in re.findall(r"<code[^>]*>(.*?)</code>", open(sys.argv[1]).read(), re.S) if sys.argv[2] in c))' "$page" "$1"
}

run_rondo site "$TMPDIR/none"
status_is 3 "a folder without a site"
mkdir "$TMPDIR/none"
run_rondo site "$TMPDIR/none"
is "$status $(ls -A "$TMPDIR/none")" "3 " "stays as it is"

head -c 300000 /dev/urandom >"$TMPDIR/disk"
printf '# What it is\n\n**Small**, with <script>alert(1)</script> and [a link](https://example.org/).\n' >"$TMPDIR/text"
printf '\211PNG\r\n\032\n and so on' >"$TMPDIR/logo"
must_publish tiny 1 "$TMPDIR/disk" --title 'Tiny <b>' --summary 'One & two' --homepage https://example.org/ --licence MIT --os 'Tiny OS' \
	--memory 64M --description "$TMPDIR/text" --logo "$TMPDIR/logo" --show-port 80:http
is "$(stamps)" "" "nobody gets pages who did not ask for them"
run_rondo site "$site"
status_is 2 "where visitors find the site must be said once"
like "$err" "rondo site $site --url" "and how is said"
for bad in 'http://a;id/' 'ftp://a/' 'http://u:p@a/' "$site"; do
	run_rondo site "$site" --url "$bad"
	is "$status $(stamps)" "2 " "not at $bad"
done
start_process server "$BUILD/rondo" serve "$site" --listen 127.0.0.1:0
wait_until 10 grep -q http: "$TMPDIR/server.log" || bail_out "the server starts"
url=$(grep -o 'http://[0-9.:]*/' "$TMPDIR/server.log" | head -n 1)
run_rondo site "$site" --url "$url"
status_is 0 "the pages are written"
is "$(cd "$site" && ls -d index.html rondo.js icon.svg pages.rondo images/tiny/index.html images/tiny/logo-*.png | wc -l)" 6 "all of them"

for what in 'Tiny &lt;b&gt;' 'One &amp; two' '<strong>Small</strong>' '&lt;script&gt;alert(1)' 'https://example.org/' '>MIT<' '>Tiny OS<' '64.0 MiB' \
	'80 <span class="name">http' 'class="tile big" src="logo-' "$("$BUILD/rondo" key show "$TMPDIR/key")" ; do
	ok "the page has $what" grep -qF -- "$what" "$page"
done
ok "pages have no other script, and no style or handler in a tag" python3 - "$site" <<'E'
import pathlib, re, sys
for p in pathlib.Path(sys.argv[1]).glob("**/*.html"):
    text = p.read_text()
    assert re.findall(r"<script[^>]*>", text) in ([f'<script defer src="{r}rondo.js">'] for r in ("", "../../")), p
    assert not re.search(r"<[^>]*\s(on\w+|style)\s*=", text), p
    assert re.findall(r'<link rel="icon" href="([^"]*)', text) in ([f"{r}icon.svg"] for r in ("", "../../")), p
    for address in re.findall(r'(?:src|action)="([^"]*)"', text):
        assert not re.match(r"[a-z+]*:|//", address), (p, address)
    assert len(text.encode()) <= 50 * 1024, p
E
fetched=$(curl -s "${url}images/tiny/")
is "$fetched" "$(cat "$page")" "a plain server serves them"

# What a visitor copies.
pinned=$(code_with 'rondo run')
like "$pinned" "^rondo run '${url}tiny:1@sha256:[0-9a-f]{64}#[A-Za-z0-9_-]{43}'\$" "the command pins version and key"
run sh -c "rondo inspect ${pinned#rondo run } --json"
is "$status $(json version)" "0 1" "and is understood"
ok "the link has the same" grep -qF "href=\"rondo://$(cut -d "'" -f 1 <<<"${pinned#*//}")\"" "$page"
code_with minisign >"$TMPDIR/check"
mkdir "$TMPDIR/checked"
ok "the commands check the signature with minisign" bash -euc "cd '$TMPDIR/checked'; . '$TMPDIR/check'"
flip 1 20 "$TMPDIR/checked/manifest"
not_ok "which refuses another text" bash -euc "cd '$TMPDIR/checked'; $(grep '^minisign' "$TMPDIR/check")"

# Again, and with every change of the catalog.
before=$(stamps)
run_rondo site "$site"
is "$status $(stamps)" "0 $before" "again: no file is written"
change_disk "$TMPDIR/disk" 8192 4096
must_publish tiny 2 "$TMPDIR/disk"
ok "a publication is seen" grep -q 'tiny:2<' "$page"
ok "with the version before" grep -q '>1</span>' "$page"
is "$(ls "$site/images/tiny")" index.html "the old logo is gone"
must_publish other 1 "$TMPDIR/disk"
ok "a new image has a page" test -e "$site/images/other/index.html"
run_rondo tag "$site" tiny stable 1 --key "$TMPDIR/key"
ok "a tag is seen" grep -q 'chip">stable<' "$page"
before=$(stat -c %i "$page")
run_rondo renew "$site" --key "$TMPDIR/key"
is "$(stat -c %i "$page")" "$before" "a renewal leaves image pages alone"
ok "and is on the first page" grep -q "Catalog $(sed -n 's/^number //p' "$site/catalog.rondo") of" "$site/index.html"

# Files of others; pages that nobody needs; what a killed one left.
mkdir -p "$site/images/gone" "$site/images/mine" "$site/page/7"
cp "$page" "$site/images/gone/index.html"
cp "$page" "$site/page/7/index.html"
echo mine >"$site/images/mine/index.html"
echo mine >"$site/index.html"
touch "$site/images/tiny/.rondo-tmp-0123456789abcdef" "$site/.rondo-tmp-0123456789abcdef"
run_rondo site "$site"
is "$status" 0 "beside files of others"
like "$err" "$site/index.html was not made by rondo site and stays" "which are named"
is "$(cat "$site/index.html" "$site/images/mine/index.html")" $'mine\nmine' "and stay"
is "$(find "$site/images/gone" "$site/page/7" "$site" -name '*.rondo-tmp-*' 2>/dev/null)" "" "half files are gone"
is "$(find "$site/images/gone" "$site/page/7" 2>/dev/null)" "" "and pages of what is not there"
rm "$site/index.html"
echo nonsense >"$site/pages.rondo"
run_rondo site "$site"
status_is 2 "a site's place that cannot be read"
must_publish third 1 "$TMPDIR/disk"
like "$err" "pages are as they were.*rondo site $site" "does not stop a publication"
run_rondo site "$site" --url "$url"
status_is 0 "until it is said anew"

# Killed at any moment: what is there is whole, and the same command goes on.
rm -r "$site/images" "$site/index.html"
strace -f -qq -o /dev/null -e trace=rename,renameat,renameat2 -e inject=rename,renameat,renameat2:signal=KILL:when=2 \
	"$BUILD/rondo" site "$site" >/dev/null 2>&1
ok "killed in the middle: some pages" test -e "$site/images/tiny/index.html" -o -e "$site/images/third/index.html" -o -e "$site/images/other/index.html"
not_ok "but none that leads to what is not there" test -e "$site/index.html"
while read -r file; do
	ok "${file#"$site/"} is whole" test "$(tail -n 1 "$file")" = "</html>"
done < <(find "$site" -name '*.html' ! -path '*/mine/*')
run_rondo site "$site"
is "$status $(cd "$site/images" && echo */index.html)" "0 other/index.html third/index.html tiny/index.html" "the next one goes on"
is "$(find "$site" -path "$site/objects" -prune -o -name '.rondo-tmp-*' -print)" "" "and sweeps"

# Another publisher at the same time.
exec 9>"$site/.lock"
flock 9
run_rondo site "$site"
status_is 10 "while somebody publishes"
exec 9>&-
run_rondo fsck "$site"
status_is 0 "the site is right after all of it"
done_testing
