#!/bin/bash
# Takes this Envoy out of service in good order. Run it before SIGTERM; docs/reliability.md explains each step.
#
#   ADMIN_HOST, ADMIN_PORT   Envoy's admin interface
#   NOTICE_SECONDS           how long load balancers need to notice that health checks fail
#   PATIENCE_SECONDS         the longest `businesses[].timeout_ms`, plus the longest time the store may be away
#
# Exit code 0: nothing is pending. 1: pending calls are left, and will read as `unknown`.
host=${ADMIN_HOST:-127.0.0.1}
port=${ADMIN_PORT:-9901}
notice=${NOTICE_SECONDS:-15}
patience=${PATIENCE_SECONDS:-60}

ask() { # METHOD PATH
  exec 3<>"/dev/tcp/$host/$port" || exit 1
  printf '%s %s HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n' "$1" "$2" >&3
  while IFS= read -r line <&3 || [ -n "$line" ]; do printf '%s\n' "${line%$'\r'}"; done
  exec 3<&-
}

gauge() { # NAME: its value, 0 where Envoy does not know it
  local name value total=0
  while read -r name value; do
    if [ "$name" = "$1:" ]; then total=$value; fi
  done < <(ask GET "/stats?filter=$1")
  echo "$total"
}

ask POST /healthcheck/fail >/dev/null
sleep "$notice"
ask POST /drain_listeners >/dev/null
for ((left = patience * 5; left > 0; left--)); do
  # In this order: a push whose connection has ended is counted among the calls by then.
  connections=$(gauge http.gateway.downstream_cx_active)
  calls=$(gauge wasmcustom.privatenumber_pending_calls)
  if [ "$calls" = 0 ] && [ "$connections" = 0 ]; then exit 0; fi
  sleep 0.2
done
echo "still $calls pending calls and $connections connections after $patience s; pending calls will read as unknown" >&2
exit 1
