#!/usr/bin/env bash
# Installs posagent as a service of systemd, upgrades it, or takes it away. Run it again for an upgrade.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  cat << 'END'
usage: sudo ./install.sh [--timer | --daemon] [--wheels DIR] [--python PROGRAM]
       sudo ./install.sh --uninstall [--purge]

Installs this checkout into /opt/posagent, or upgrades to it: configuration and state are kept, and where the new version
does not accept the configuration or does not start, the old one stays.

  --daemon          watch all the time (posagent.service; the default, on an upgrade whatever runs now)
  --timer           look every five minutes and keep no daemon (posagent-check.timer)
  --wheels DIR      install from the wheels in DIR, without internet; on another PC: pip wheel --wheel-dir DIR .
  --python PROGRAM  the Python to run on, 3.11 or newer (default: python3)
  --uninstall       take away program, service and command; keep configuration, state and user
  --purge           with --uninstall: take away those too
END
}

fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}
say() { printf '%s\n' "$*"; }

# ---- What lies where ----
readonly home=/opt/posagent # one directory per version, and `current`, which points at the one that runs
readonly link=/usr/local/bin/posagent
readonly library=/usr/local/lib # units of local software; /etc is the administrator's, who overrides them there
readonly config=/etc/posagent/config.toml
readonly -a files=(
  "posagent.service          systemd/system/posagent.service"
  "posagent-check.service    systemd/system/posagent-check.service"
  "posagent-check.timer      systemd/system/posagent-check.timer"
  "posagent-drill.service    systemd/system/posagent-drill.service"
  "posagent-drill.timer      systemd/system/posagent-drill.timer"
  "posagent.sysusers         sysusers.d/posagent.conf"
  "posagent.tmpfiles         tmpfiles.d/posagent.conf"
  "posagent.sysctl           sysctl.d/50-posagent.conf"
)

# ---- Steps ----
options() {
  wanted="" wheels="" python=python3 task=install purge=no
  while (($#)); do
    case $1 in
      --timer) wanted=posagent-check.timer ;;
      --daemon) wanted=posagent.service ;;
      --wheels)
        wheels=$(cd "${2:-/nowhere}" 2> /dev/null && pwd) || fail "--wheels: expected a directory, got ${2:-nothing}"
        shift
        ;;
      --python)
        [[ -n ${2:-} ]] || fail "--python: expected a program"
        python=$2
        shift
        ;;
      --uninstall) task=uninstall ;;
      --purge) purge=yes ;;
      -h | --help) usage && exit 0 ;;
      *) usage >&2 && exit 64 ;;
    esac
    shift
  done
  [[ $purge == no || $task == uninstall ]] || fail "--purge goes with --uninstall"
}

require_root_and_systemd() {
  ((EUID == 0)) || fail "cannot install without root; run it with sudo"
  [[ -d /run/systemd/system ]] || fail "cannot install a service: this system is not run by systemd;" \
    "without it, run \`posagent run\` under whatever starts your services"
  exec 9> /run/posagent-install.lock
  flock -n 9 || fail "cannot go on: another install.sh is at work; wait until it ends"
}

require_python() {
  command -v "$python" > /dev/null || fail "cannot find $python; install Python 3.11 or newer, or name it: --python PROGRAM"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "$("$python" --version) is too old; posagent needs Python 3.11 or newer: --python PROGRAM"
  "$python" -c 'import ensurepip, venv' 2> /dev/null \
    || fail "$python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
}

# Everything of a version lies in its own directory; nothing that runs is touched before the switch.
build() {
  new=$home/$(date -u +%Y%m%dT%H%M%S)-$$
  trap 'rm -rf "$new"' EXIT # until the switch
  mkdir -p "$home"
  "$python" -m venv "$new"
  local -a source=("$here")
  [[ -z $wheels ]] || source=(--no-index --find-links "$wheels" posagent)
  "$new/bin/pip" install --quiet --no-input --no-cache-dir --disable-pip-version-check "${source[@]}" \
    || fail "cannot install the packages; what pip says stands above. Without internet: --wheels DIR"
  cp -r "$here/systemd" "$new/systemd"
  say "built: $("$new/bin/posagent" --version) in $new"
}

place_files() {
  local from to
  for line in "${files[@]}"; do
    read -r from to <<< "$line"
    install -D -m 644 "$1/systemd/$from" "$library/$to"
  done
  systemctl daemon-reload
  /usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/ping_group_range \
    || say "cannot set net.ipv4.ping_group_range here; probes that ping may answer probe.denied"
}

make_user_and_directories() {
  systemd-sysusers "$new/systemd/posagent.sysusers"
  systemd-tmpfiles --create "$new/systemd/posagent.tmpfiles"
}

as_posagent() { (cd / && setpriv --reuid=posagent --regid=posagent --init-groups --reset-env "$@"); }

require_good_config() {
  as_posagent "$new/bin/python" -c "" \
    || fail "the user posagent cannot run $python: it lies where only root may go; name another one, such as --python /usr/bin/python3"
  if [[ ! -e $config ]]; then
    "$new/bin/posagent" config init "$config"
    systemd-tmpfiles --create "$new/systemd/posagent.tmpfiles" # its owner and mode
  fi
  as_posagent "$new/bin/posagent" config check --config "$config" \
    || fail "the configuration does not suit this version; nothing was changed${old:+, $old goes on}. Mend $config and run this again"
}

# The new version takes over; where it does not come up, the old one takes over again.
switch() {
  point_at "$new"
  if start; then
    trap - EXIT
    return
  fi
  say "the new version does not start; its last words:"
  journalctl --unit "$wanted" --lines 15 --no-pager --output cat || true
  systemctl --quiet disable --now "$wanted" || true
  if [[ -z $old ]]; then
    rm -f "$home/current" "$link"
    fail "cannot start $wanted; the configuration was left in $config"
  fi
  point_at "$old"
  place_files "$old"
  start || fail "cannot start the old version either: see \`systemctl status $wanted\`"
  fail "cannot start the new version; the old one runs again"
}

point_at() {
  ln -sfn "$1" "$home/next" && mv -T "$home/next" "$home/current" # in one step: there is always a current one
  ln -sfn "$home/current/bin/posagent" "$link"
}

start() {
  local other=posagent.service
  [[ $wanted == posagent.service ]] && other=posagent-check.timer
  systemctl --quiet disable --now "$other" && systemctl --quiet enable "$wanted" && systemctl restart "$wanted"
}

forget_older_versions() {
  local place
  for place in "$home"/*; do
    [[ -L $place || $place == "$new" || $place == "$old" ]] || rm -rf "$place"
  done
}

uninstall() {
  local from to
  systemctl --quiet disable --now posagent.service posagent-{check,drill}.{timer,service} 2> /dev/null || true
  for line in "${files[@]}"; do
    read -r from to <<< "$line"
    rm -f "$library/$to"
  done
  rm -rf "$home" "$link"
  systemctl daemon-reload
  systemctl reset-failed posagent.service posagent-{check,drill}.service 2> /dev/null || true
  if [[ $purge == yes ]]; then
    rm -rf /etc/posagent /var/lib/posagent /etc/systemd/system/posagent{,-check,-drill}.{service,timer}.d
    systemctl daemon-reload
    ! getent passwd posagent > /dev/null || userdel posagent
    say "posagent is gone, with its configuration and state"
  else
    say "posagent is gone; kept: /etc/posagent, /var/lib/posagent and the user posagent (--purge takes them too)"
  fi
}

main() {
  options "$@"
  require_root_and_systemd
  if [[ $task == uninstall ]]; then
    uninstall
    return
  fi
  require_python
  old=$(readlink "$home/current" 2> /dev/null || true)
  if [[ -z $wanted ]]; then
    wanted=posagent.service
    ! systemctl --quiet is-enabled posagent-check.timer 2> /dev/null || wanted=posagent-check.timer
  fi
  build
  make_user_and_directories
  require_good_config
  place_files "$new"
  switch
  forget_older_versions
  say "posagent runs ($wanted). Its configuration: $config; its word: posagent status"
}

main "$@"
