#!/bin/sh
# Makes the files that compose.yaml mounts as secrets, in secrets/ beside this script.
#   sudo ./make-secrets.sh                  what is missing: random keys, and tokens as empty files
#   sudo ./make-secrets.sh discord_token    ask for that value (or read it from a pipe) and store it
# What exists is kept. Without sudo the files belong to you, and user 10001 in the containers cannot read
# them: Compose mounts such files as they are. (Docker Desktop does not mind.)
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
cd secrets

TOKENS="discord_token slack_bot_token slack_app_token slack_signing_secret slack_client_secret remote_key"

random_hex() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1; }
# Whole or not at all, and always a new file: an old one may have been readable by others.
store() { printf '%s\n' "$2" >"$1.new" && mv "$1.new" "$1"; }

if [ $# -gt 0 ]; then
  case " $TOKENS " in
    *" $1 "*) ;;
    *) echo "there is no such secret; these can be set: $TOKENS" >&2; exit 2 ;;
  esac
  if [ -t 0 ]; then
    printf '%s (not shown): ' "$1" >&2
    trap 'stty echo' EXIT
    stty -echo
  fi
  IFS= read -r value || [ -n "$value" ]
  store "$1" "$value"
fi

# The master key opens everything that is stored. Losing it loses the conversations: back it up.
[ -s master_key ] || store master_key "$(random_hex)"
[ -s engine_key ] || store engine_key "$(random_hex)"
[ -s redis_password ] || store redis_password "$(random_hex)"
for token in $TOKENS; do [ -e "$token" ] || : >"$token"; done

# Both follow from the password. Whole commands and categories only: Redis 7.0 does not start on a
# subcommand such as `+client|setinfo`. -@admin and -@dangerous take away FLUSHALL, CONFIG, KEYS and their like;
# INFO is given back, for `frontdesk doctor`.
password=$(cat redis_password)
store redis_url "redis://frontdesk:$password@redis:6379/0"
store redis_acl "user default off resetpass resetkeys resetchannels -@all
user frontdesk on #$(printf %s "$password" | sha256) ~frontdesk:* resetchannels -@all +@read +@write +@connection +@transaction +@scripting +time -@admin -@dangerous +info"

chmod 0600 ./*
if [ "$(id -u)" = 0 ]; then
  chown 10001:10001 ./*
  chown 999:999 redis_acl redis_password # the Redis image's user
else
  echo "Not run as root: on Linux the containers cannot read these files; run it again with sudo." >&2
fi
echo "secrets are in $(pwd)"
