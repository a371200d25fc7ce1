export const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** Returns a script that completes `keelson` by calling it with `__complete`. */
export function completionScript(shell: Shell): string {
  return { bash: BASH, zsh: ZSH, fish: FISH }[shell];
}

// Directives: completion.ts. A word that holds = or : is several words for bash, which replaces the
// last.
const BASH = `# bash completion for keelson; load with: source <(keelson completion bash)
__keelson_complete() {
  local line=\${COMP_LINE:0:COMP_POINT} words=() out directive cur candidate
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  cur=\${words[-1]}
  out=$("\${words[0]}" __complete "\${words[@]:1}" 2>/dev/null) || return
  directive=\${out##*:}
  out=\${out%:*}
  COMPREPLY=()
  local strip=''
  if [[ $cur == *[=:]* && $COMP_WORDBREAKS == *[=:]* ]]; then strip=\${cur%"\${cur##*[=:]}"}; fi
  while IFS=$'\\t' read -r candidate _; do
    [[ -n $candidate ]] && COMPREPLY+=("\${candidate#"$strip"}")
  done <<<"$out"
  if ((directive & 2)); then compopt -o nospace; fi
  if ((directive & 16)); then
    COMPREPLY+=($(compgen -d -- "\${cur#"$strip"}"))
    compopt -o filenames
  elif (((directive & 4) == 0)); then
    COMPREPLY+=($(compgen -f -- "\${cur#"$strip"}"))
    compopt -o filenames
  fi
}
complete -F __keelson_complete keelson
`;

const ZSH = `#compdef keelson
# zsh completion for keelson; load with: source <(keelson completion zsh)
_keelson() {
  local -a lines described plain
  local directive line value
  lines=("\${(@f)$(\${words[1]} __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  directive=\${lines[-1]#:}
  for line in "\${(@)lines[1,-2]}"; do
    value=\${line%%$'\\t'*}
    if [[ $line == *$'\\t'* ]]; then
      described+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
    else
      plain+=("$value")
    fi
  done
  local -a space
  ((directive & 2)) && space=(-S '')
  ((\${#described})) && _describe -t keelson keelson described "\${space[@]}"
  ((\${#plain})) && compadd "\${space[@]}" -- "\${plain[@]}"
  if ((directive & 16)); then
    _files -/
  elif (((directive & 4) == 0)); then
    _files
  fi
}
if [[ \${funcstack[1]} == _keelson ]]; then _keelson "$@"; else compdef _keelson keelson; fi
`;

const FISH = `# fish completion for keelson; load with: keelson completion fish | source
function __keelson_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] 2>/dev/null)
    set -l directive (string replace ':' '' -- $lines[-1])
    printf '%s\\n' $lines[1..-2]
    if test (math "bitand($directive, 16)") -ne 0
        __fish_complete_directories (commandline -ct)
    else if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path (commandline -ct)
    end
end
complete -c keelson -f -a '(__keelson_complete)'
`;
