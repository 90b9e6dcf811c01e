#!/bin/bash
# Registers a binding in the store, as a binding service does after Huawei's answer: used by docker-compose.yml.
#
#   register-binding.sh HOST PORT SUBSCRIPTION_ID FILE
#
# The store's image has no curl, so this speaks HTTP by itself.
set -euo pipefail
host=$1 port=$2 id=$3 file=$4

exec 3<>"/dev/tcp/$host/$port"
{
  printf 'PUT /v1/bindings/%s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n' "$id" "$host"
  printf 'content-type: application/json\r\ncontent-length: %d\r\n\r\n' "$(wc -c <"$file")"
  cat "$file"
} >&3
read -r _ status _ <&3
case $status in
  200 | 201) echo "the store has the binding $id" ;;
  *) echo "error: the store answered $status to the binding $id" >&2; cat <&3 >&2; exit 1 ;;
esac
