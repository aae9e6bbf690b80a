#!/bin/bash
# The table of docs/security.md is true: it has each threat and each attack of The Update Framework; the tests that it names are there; and a
# test that bears a threat's number stands in that threat's row.
. "$(dirname "$0")/../lib.sh"
document=$ROOT/docs/security.md

rows=$(sed -n '/^| T[0-9]/p' "$document")
for i in {1..44}; do
	threat=$(printf 'T%02d' "$i")
	[ "$(cut -d '|' -f 2 <<<"$rows" | grep -cw "$threat")" = 1 ] || fail "$threat has one row"
done
pass "each threat has a row"
named=$(grep -oE '(hostile|e2e|unit|fuzz|lab)/[A-Za-z0-9_]+\.(sh|c)\b' "$document" | grep -v NAME | sort -u) # fuzz_NAME.c stands for many
ok "tests are named ($(wc -l <<<"$named"))" [ "$(wc -l <<<"$named")" -gt 40 ]
missing=$(for test in $named; do [ -f "$ROOT/tests/$test" ] || echo "$test"; done)
is "$missing" "" "each test that the document names is there"
strays=$(cd "$ROOT/tests" && for test in hostile/T[0-9]*.sh; do
	for threat in $(grep -oE 'T[0-9]{2}' <<<"$test"); do
		grep -qE "^\| .*\b$threat\b.*\b$test\b" <<<"$rows" || echo "$test is not in the row of $threat"
	done
done)
is "$strays" "" "each test with a threat's number is in that threat's row"
empty=$(grep -vE '(hostile|e2e|unit|fuzz|lab)/' <<<"$rows" | grep -v '^| T33 ')
is "$empty" "" "each threat but those of what there is not has a test"

attacks='arbitrary installation
endless data
extraneous dependencies
fast-forward
indefinite freeze
malicious mirror prevents updates
mix-and-match
rollback
key compromise
wrong software'
lacking=$(while read -r attack; do
	grep -q "^| $attack | " "$document" || echo "$attack has no row"
	grep -q "withstands \"$attack: " "$ROOT/tests/hostile/tuf_attacks.sh" || echo "$attack has no test"
done <<<"$attacks")
is "$lacking" "" "each attack of The Update Framework has a row and a test of its name"
done_testing
