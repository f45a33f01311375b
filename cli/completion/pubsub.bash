# Completion of pubsub for bash. What may stand where is asked of pubsub itself (pubsub __complete).

_pubsub()
{
    local cur mode line word i quote= breaks= rest=${COMP_LINE:0:COMP_POINT}
    local -a words=() before=()
    COMPREPLY=()
    # bash begins a new word at each ':' and '=', if it is told so. They are put together again.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        line=${rest#"${rest%%[![:space:]]*}"} word=${COMP_WORDS[i]}
        [[ $line == "$word"* ]] || word=$line # the cursor is in it
        if [[ $line == "$rest" ]] && ((i > 0)); then words[-1]+=$word; else words+=("$word"); fi
        rest=${line#"$word"}
    done
    cur=${words[-1]}
    # Quotes are the shell's, not the word's.
    [[ $cur == [\'\"]* ]] && quote=${cur:0:1} cur=${cur:1}
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        line=${words[i]}
        [[ $line == \'*\' || $line == \"*\" ]] && line=${line:1:-1}
        [[ $line == '~/'* ]] && line=$HOME${line:1}
        before+=("${line//\\/}")
    done
    [[ $quote ]] || cur=${cur//\\/}
    while IFS= read -r line; do
        if [[ ! $mode ]]; then
            mode=$line
            continue
        fi
        line=${line%%$'\t'*}
        # Topics are other people's: what would end the quote, or mean something to the shell within it, is not offered.
        [[ ($quote == \' && $line == *\'*) || ($quote == \" && $line == *[\"\$\`\\!]*) ]] && continue
        [[ $quote ]] || printf -v line %q "$line"
        COMPREPLY+=("$line")
    done < <("${words[0]/#\~\//$HOME/}" __complete "${before[@]}" "$cur" 2>/dev/null)
    case $mode in
    open) compopt -o nospace ;;
    files)
        compopt -o filenames
        [[ $cur == --*=* ]] && cur=${cur#*=}
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(compgen -f -- "$cur")
        return
        ;;
    esac
    # What stands before the last of them is there already.
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+==
    [[ $breaks && ! $quote ]] || return 0
    line=${cur%"${cur##*[$breaks]}"}
    COMPREPLY=("${COMPREPLY[@]#"$line"}")
} &&
    complete -F _pubsub pubsub
