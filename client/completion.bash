# Completion of rondo's command line for bash (and for zsh, after bashcompinit).
#
# Nothing of the command line is written down here: verbs come from `rondo --help`, options and what may follow them from the
# form that `rondo VERB --help` prints, so that completion cannot be wrong about what the program takes. In a form, capital words
# stand for what the user chooses: NAME and N are machines, IMAGE is an image or (in a folder) a site, FILE, DIR and
# the like are paths; a|b|c are the words themselves.

_rondo_names() { # of machines
	"$1" ps --json 2>/dev/null | sed -n 's/^.*"name": *"\([^"]*\)".*$/\1/p'
}

_rondo_images() { # that were pulled, and so run from the default site or from where they came
	"$1" ls --json 2>/dev/null | sed -n 's/^.*"name": *"\([^"]*\)".*$/\1/p' | sort -u
}

_rondo_form() { # of a verb, on one line
	"$1" "$2" --help 2>/dev/null | sed '/^$/,$d; s/^usage: rondo [^ ]* *//' | tr -s '\n ' ' '
}

# What may stand for a word of a form.
_rondo_words() { # RONDO WORD CURRENT
	local alternative
	for alternative in ${2//|/ }; do
		case $alternative in
		NAME | N) compgen -W "$(_rondo_names "$1")" -- "$3" ;;
		IMAGE)
			compgen -W "$(_rondo_images "$1")" -- "$3"
			compgen -d -- "$3"
			;;
		*FILE* | F | *DIR* | SITE | DEST) compgen -f -- "$3" ;;
		*[A-Z]*) ;;
		*) compgen -W "$alternative" -- "$3" ;;
		esac
	done
}

_rondo() {
	local rondo=$1 current=${COMP_WORDS[COMP_CWORD]} before='' verb=${COMP_WORDS[1]:-} form word operands=() i skip=''
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "$("$rondo" --help 2>/dev/null | sed -n 's/^  rondo \([a-z-]*\) .*/\1/p') --help --version" \
			-- "$current")
		return
	fi
	before=${COMP_WORDS[COMP_CWORD - 1]}
	form=$(_rondo_form "$rondo" "$verb")
	form=${form//[\[\]]/ }
	# After an option that takes a value: what the form has behind it.
	if [[ $before == --* && " $form " =~ \ $before\ ([^-\ |][^\ ]*) ]]; then
		mapfile -t COMPREPLY < <(_rondo_words "$rondo" "${BASH_REMATCH[1]}" "$current")
		compopt -o filenames 2>/dev/null
		return
	fi
	if [[ $current == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(grep -oE -- '--[a-z][a-z-]*' <<<"$form" | sort -u) --help" -- "$current")
		return
	fi
	# An operand: the form's words that are no options, nor their values; the n-th of them for the n-th operand.
	for word in $form; do
		case $word in
		--*) skip=$word ;;
		'|') break ;;
		*)
			[ -n "$skip" ] || operands+=("$word")
			skip=''
			;;
		esac
	done
	local n=0
	skip=''
	for ((i = 2; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $word == --* ]]; then
			[[ " $form " =~ \ $word\ [^-\ |] ]] && i=$((i + 1))
		else
			n=$((n + 1))
		fi
	done
	[ "$n" -lt "${#operands[@]}" ] || return 0
	mapfile -t COMPREPLY < <(_rondo_words "$rondo" "${operands[n]}" "$current")
	compopt -o filenames 2>/dev/null
}

complete -F _rondo rondo
