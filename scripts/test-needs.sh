#!/usr/bin/env bash
# Brings what the tests need beside Python: a Chromium, a Chinese font, PostgreSQL's server programs.
# Where they cannot be installed it says what is missing, and the tests that need it skip with the reason.
set -euo pipefail

has_browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}

has_chinese_font() {
    command -v fc-list >/dev/null && [ -n "$(fc-list :lang=zh-cn family)" ]
}

has_postgres() {
    [ -n "${KANGHU_TEST_POSTGRES_URL:-}" ] || command -v initdb >/dev/null ||
        compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
        compgen -G '/usr/pgsql-*/bin/initdb' >/dev/null
}

list_missing() {
    missing=()
    has_browser || missing+=(chromium)
    has_chinese_font || missing+=(fontconfig fonts-noto-cjk)
    has_postgres || missing+=(postgresql)
}

list_missing
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "Installing what the tests need: ${missing[*]} …"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # A third-party list that does not answer must not stop us: what counts is whether the install works.
    apt-get -qq update </dev/null >"$log" 2>&1 || true
    if ! apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" </dev/null >>"$log" 2>&1; then
        echo "apt-get could not install them:"
        grep -E '^(E|W):' "$log" | sed -E 's#[a-z]+://[^ ]+#…#g' | tail -n 5 || true
    fi
    rm -f "$log"
    list_missing
    if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
fi

echo "Missing for some tests (Debian's package names): ${missing[*]}"
if [ "${KANGHU_NO_SKIP:-}" = 1 ]; then
    echo "Nothing may skip here (KANGHU_NO_SKIP=1): install them and run again."
    exit 1
fi
echo "The tests that need them will be skipped. Install them to run every test."
