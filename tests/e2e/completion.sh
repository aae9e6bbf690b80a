#!/bin/bash
# Bash's completion offers what the program takes: every verb, each verb's options, machines, words and paths.
. "$(dirname "$0")/../lib.sh"
rondo() { "$BUILD/rondo" "$@"; }
# shellcheck source=../../client/completion.bash
. "$ROOT/client/completion.bash"

offered() { # WORDS…: what is offered in place of the last one
	COMP_WORDS=("$BUILD/rondo" "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_rondo "$BUILD/rondo"
	printf '%s\n' "${COMPREPLY[@]}" | sort -u | tr '\n' ' '
}

verbs=$("$BUILD/rondo" --help | sed -n 's/^  rondo \([a-z-]*\) .*/\1/p')
is "$(offered '')" "$(printf '%s\n' $verbs --help --version | sort -u | tr '\n' ' ')" "all verbs"
is "$(offered sto)" "stop " "a verb that was begun"
for verb in $verbs; do
	wanted=$({
		"$BUILD/rondo" "$verb" --help | sed '/^$/,$d' | grep -oE -- '--[a-z][a-z-]*'
		echo --help
	} | sort -u | tr '\n' ' ')
	is "$(offered "$verb" --)" "$wanted" "the options of $verb"
done
is "$(offered run image --eng)" "--engine " "an option that was begun"
is "$(offered run image --engine '')" "auto kvm qemu " "what an option takes"
is "$(offered run image --engine q)" "qemu " "the same, begun"
touch "$TMPDIR/some.key"
is "$(offered publish --key "$TMPDIR/so")" "$TMPDIR/some.key " "a file"

mkdir -p "$RONDO_HOME/instances/web-1"
is "$(offered stop w)" "web-1 " "a machine's name"
is "$(offered stop web-1 '')" " " "nothing where nothing may follow"
is "$(offered stop --timeout 5 we)" "web-1 " "an option's value is no operand"
is "$(offered nonsense '')" " " "nothing for a verb that there is not"
done_testing
