#!/bin/sh
# Serves two profiles of one settings file with one gateway, and changes the file while it runs. Both profiles have the
# client of the environment, so they share its token; what differs between them stands in the file.
set -eu

reports=${REPORTS:-127.0.0.1:7070}
screens=${SCREENS:-127.0.0.1:7080}
admin=${EVERGRANT_ADMIN_LISTEN:-127.0.0.1:7071}
settings=$(mktemp)

cat >"$settings" <<END
[profile.reports]
listen = "$reports"

[profile.screens]
listen = "$screens"
rate-limited = "answer"
END

EVERGRANT_ADMIN_LISTEN=$admin evergrant gateway --config "$settings" --profile reports,screens &
gateway=$!
trap 'kill "$gateway"; wait "$gateway"; rm "$settings"' EXIT

get() {
    curl --silent --show-error --fail "$@"
}
evergrant ready --wait 30s --admin-listen "$admin"
get "http://$reports/api/v2/organizations/me"
get "http://$screens/api/v2/organizations/me"

# The gateway notices the change by itself; SIGHUP would make it look at once.
echo 'upstream-timeout = "60s"' >>"$settings"
until get "http://$admin/status" | grep --quiet '"accepted":1'; do sleep 0.1; done
get "http://$screens/api/v2/organizations/me"
