#!/usr/bin/env bash
# translations.sh update   collect texts into locale/, compile
# translations.sh check    fail when a text has no translation or a compiled catalog is old
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/clients/python/src
export PATH="$PWD/.venv/bin:$PATH" SECRET_KEY=${SECRET_KEY:-translations}
export MALL_SECRET_KEY=translations
po=locale/zh_Hans/LC_MESSAGES/django.po
projects=(. examples/mall)

if ! command -v xgettext >/dev/null; then
  sudo=; [ "$(id -u)" = 0 ] || sudo="sudo -n"
  $sudo apt-get update -qq || true
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gettext >/dev/null ||
    { echo "gettext (a Debian package) is missing" >&2; exit 1; }
fi

collect() { # in the directory of a project
  python manage.py makemessages --locale zh_Hans --no-location --no-wrap --no-obsolete \
    --ignore .venv --ignore var --ignore locale/unfold --ignore examples --ignore tests --verbosity 0
  # Sorted by text, so that moving code does not move translations.
  msgcat --sort-output --no-wrap "$po" --output-file "$po"
  sed -i '/^"POT-Creation-Date/d' "$po"
}

update() {
  mkdir -p locale
  collect
  python manage.py compilemessages --ignore .venv --ignore var --ignore examples --verbosity 0
}

check() {
  before=$(mktemp); trap 'cp "$before" "$po"; rm -f "$before"' EXIT
  cp "$po" "$before"
  collect
  diff "$before" "$po" || { echo "texts have changed: make translations" >&2; exit 1; }
  for flag in --untranslated --only-fuzzy; do
    missing=$(msgattrib "$flag" --no-obsolete "$po" | sed 1d)
    [ -z "$missing" ] || { echo "not translated:"; echo "$missing"; exit 1; } >&2
  done
  for catalog in "$po" locale/unfold/*/LC_MESSAGES/django.po; do
    [ -e "$catalog" ] || continue
    msgfmt --check "$catalog" -o - | cmp - "${catalog%.po}.mo" ||
      { echo "the compiled catalog is old: make translations" >&2; exit 1; }
  done
}

case ${1:-} in
  update|check) for project in "${projects[@]}"; do (cd "$project" && "$1"); done ;;
  *) sed -n '2,3s/^# //p' "$0"; exit 2 ;;
esac
