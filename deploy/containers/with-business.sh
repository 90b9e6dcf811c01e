#!/bin/bash
# Starts Envoy with a business's address from the environment: used by docker-compose.yml.
#
#   BUSINESS_ADDRESS   HOST:PORT of a business that takes plain HTTP; HOST is a name or an IPv4 address
#   BUSINESS_PATH      the path of its callback address
#
# Envoy reads no environment variables in its configuration, so this writes /tmp/envoy.yaml, which is the image's
# /etc/envoy/envoy.yaml with the two values in their places. The arguments are Envoy's: `-c /tmp/envoy.yaml`, and more.
set -euo pipefail
shopt -s extglob
from=${CONFIGURATION:-/etc/envoy/envoy.yaml}
to=${CHANGED_CONFIGURATION:-/tmp/envoy.yaml}
address=${BUSINESS_ADDRESS:-business:8091}
path=${BUSINESS_PATH:-/callback}

refuse() { echo "error: $1" >&2; exit 1; }
host=${address%:*} port=${address##*:}
[[ $host =~ ^[A-Za-z0-9.-]+$ && $port =~ ^[0-9]{1,5}$ ]] || refuse "BUSINESS_ADDRESS must be HOST:PORT, found $address"
[[ $path =~ ^/[A-Za-z0-9/._~%?=+:@,-]*$ ]] || refuse "BUSINESS_PATH must be a path such as /callback, found $path"

sed -e "s|address: business, port_value: 8091|address: $host, port_value: $port|" \
    -e "s|\"authority\": \"business.example.com\"|\"authority\": \"$address\"|" \
    -e "s|\"path\": \"/callback\"|\"path\": \"$path\"|" "$from" >"$to"
for expected in "address: $host, port_value: $port" "\"authority\": \"$address\"" "\"path\": \"$path\""; do
  grep -qF "$expected" "$to" || refuse "envoy.yaml has no place for $expected any more; change the business there"
done
exec envoy "$@"
