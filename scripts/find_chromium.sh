#!/usr/bin/env bash
# Print the path of Chromium: $CHROMIUM, else one on the path, else the one that apt-get installs where this is root.
set -euo pipefail
if [ -n "${CHROMIUM:-}" ]; then
  command -v "$CHROMIUM" || { echo "expected \$CHROMIUM to be a program, found nothing at $CHROMIUM" >&2; exit 2; }
  exit 0
fi
for name in chromium chromium-browser google-chrome; do
  if command -v "$name"; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "installing Chromium with apt-get" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium fonts-liberation; } >&2
  command -v chromium && exit 0
fi
echo "expected Chromium on the path: install it (Debian: apt-get install chromium), or say where it is: make CHROMIUM=/path test-pages" >&2
exit 2
