#!/usr/bin/env bash
# Install Debian's Chromium and a Chinese font for the browser tests, if root or sudo is available.
set -uo pipefail

command -v chromium >/dev/null && exit 0
sudo=; [ "$(id -u)" = 0 ] || sudo="sudo -n"
$sudo apt-get update -qq >/dev/null 2>&1
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  chromium fonts-noto-cjk >/dev/null 2>&1 ||
  { echo "Chromium (a Debian package) could not be installed." >&2; exit 1; }
