"""The scripts themselves, one function a shell."""

from __future__ import annotations

from bnonly.completion.words import Flag, Values, Verb

_BASH = r"""# Completion of bnonly for bash, made by `bnonly completion bash`.
_bnonly() {
    # Bash cuts words at : and =, which stand inside ours: put them together again up to the cursor.
    local -a words=()
    local i part glue="" cur flag="" since=0 IFS=$' \t\n'
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if ((i > 1)) && [[ $glue || $part == [:=]* ]]; then
            words[${#words[@]} - 1]+=$part
        else
            words+=("$part")
        fi
        [[ $part && -z ${part//[:=]/} ]] && glue=1 || glue=""
    done
    local last=$((${#words[@]} - 1))
    cur=${words[last]}
    COMPREPLY=()
    if ((last == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "@VERBS@ --help --version" -- "$cur")
        return
    fi
    for ((i = 2; i < last; i++)); do
        if [[ ${words[i]} == -* ]]; then flag=${words[i]} since=0; else since=$((since + 1)); fi
    done
    local place="${words[1]} " lead="" known="" paths=""
    if [[ $cur == --*=* ]]; then
        place+=${cur%%=*} lead=${cur%%=*}= cur=${cur#*=}
    elif [[ $cur == -* ]]; then
        place+="-"
    elif [[ $flag == *=* ]]; then
        place+=""
    else
        case "${words[1]} $flag" in
            @MANY@) place+=$flag ;;
            @ONE@) ((since == 0)) && place+=$flag ;;
        esac
    fi
    case $place in
@CASES@
    esac
    if [[ $paths ]]; then
        # Bash's own completion of names knows of ~ and of quotes.
        compopt -o "$paths" 2>/dev/null || mapfile -t COMPREPLY < <(compgen -o "$paths" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$known" -P "$lead" -- "$cur")
        lead+=$cur
        # What bash cut off stands in the line already.
        for part in : =; do
            if [[ $COMP_WORDBREAKS == *$part* && $lead == *$part* ]]; then
                COMPREPLY=("${COMPREPLY[@]#"${lead%"${lead##*$part}"}"}")
                lead=${lead##*$part}
            fi
        done
    fi
    return 0
}
complete -F _bnonly bnonly
"""


def bash(verbs: list[Verb]) -> str:
    """For bash from 4.0; needs nothing else."""
    many, one, cases = [], [], []
    for verb in verbs:
        flags = " ".join(name for flag in verb.flags for name in flag.names)
        cases += [f'        "{verb.name} -") known="{flags}" ;;']
        cases += _bash_case(verb.name, "", verb.rest) or _bash_case(verb.name, "", Values(tuple(flags.split())))
        for flag in verb.flags:
            places = [f'"{verb.name} {name}"' for name in flag.names]
            (many if flag.takes == "many" else one if flag.takes == "one" else []).extend(places)
            for name in flag.names:
                cases += _bash_case(verb.name, name, flag.values)
    script = _BASH.replace("@VERBS@", " ".join(verb.name for verb in verbs)).replace("@CASES@", "\n".join(cases))
    return script.replace("@MANY@", " | ".join(many)).replace("@ONE@", " | ".join(one))


def _bash_case(verb: str, flag: str, values: Values) -> list[str]:
    if not values.words and not values.paths:
        return []
    what = f'known="{" ".join(values.words)}"' if values.words else f"paths={_COMPGEN[values.paths]}"
    return [f'        "{verb} {flag}") {what} ;;']


_COMPGEN = {"files": "default", "folders": "dirnames"}

_ZSH = r"""#compdef bnonly
# Completion of bnonly for zsh, made by `bnonly completion zsh`.
_bnonly() {
    local -a verbs
    verbs=(
@VERBS@
    )
    if ((CURRENT == 2)); then
        _describe verb verbs
        return
    fi
    local verb=$words[2]
    shift words
    ((CURRENT--))
    case $verb in
@CASES@
    esac
}
if [[ $funcstack[1] == _bnonly ]]; then _bnonly "$@"; else compdef _bnonly bnonly; fi
"""


def zsh(verbs: list[Verb]) -> str:
    """For zsh from 5, as a function of $fpath or evaluated after compinit."""
    known = "\n".join(f"        {_quoted(_escaped(verb.name, ':') + ':' + verb.says)}" for verb in verbs)
    cases = []
    for verb in verbs:
        specs = [_zsh_spec(flag, name) for flag in verb.flags for name in flag.names]
        if action := _zsh_action(verb.anywhere):
            specs.append(_quoted(f"*:{verb.name}:{action}"))
        arguments = " \\\n".join(f"                {spec}" for spec in specs)
        cases.append(f"        {verb.name})\n            _arguments \\\n{arguments} ;;")
    return _ZSH.replace("@VERBS@", known).replace("@CASES@", "\n".join(cases))


def _zsh_spec(flag: Flag, name: str) -> str:
    says = _escaped(flag.says, "\\[]:")
    if flag.takes == "none":
        return _quoted(f"{name}[{says}]")
    ends = "=" if name.startswith("--") else ""
    return _quoted(f"*{name}{ends}[{says}]:value:{_zsh_action(flag.values)}")


def _zsh_action(values: Values) -> str:
    if values.paths:
        return "_files -/" if values.paths == "folders" else "_files"
    return "(" + " ".join(_escaped(word, "\\:()") for word in values.words) + ")" if values.words else ""


def fish(verbs: list[Verb]) -> str:
    """For fish from 3."""
    lines = [
        "# Completion of bnonly for fish, made by `bnonly completion fish`.",
        "function __bnonly_verb",
        "    set -l words (commandline -opc)",
        '    test "$words[2]" = "$argv[1]"',
        "end",
        "complete -c bnonly -e",
        "complete -c bnonly -f",
        "complete -c bnonly -n '__bnonly_verb \"\"' -l help -d 'list the verbs'",
        "complete -c bnonly -n '__bnonly_verb \"\"' -l version -d 'print the version'",
    ]
    for verb in verbs:
        lines.append(f"complete -c bnonly -n '__bnonly_verb \"\"' -a {verb.name} -d {_quoted_fish(verb.says)}")
        here = f"complete -c bnonly -n '__bnonly_verb {verb.name}'"
        if rest := _fish_values(verb.anywhere):
            lines.append(f"{here} {rest}")
        for flag in verb.flags:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            takes = "" if flag.takes == "none" else f" -r {_fish_values(flag.values) or '-f'}"
            lines.append(f"{here} {names}{takes} -d {_quoted_fish(flag.says)}")
    return "\n".join(lines) + "\n"


def _fish_values(values: Values) -> str:
    if values.paths:
        return "-F" if values.paths == "files" else "-f -a '(__fish_complete_directories)'"
    return f"-f -a {_quoted_fish(' '.join(values.words))}" if values.words else ""


def _escaped(text: str, signs: str) -> str:
    return "".join(f"\\{sign}" if sign in signs else sign for sign in text)


def _quoted(text: str) -> str:
    """A single word of a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _quoted_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
