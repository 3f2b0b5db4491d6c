#!/bin/sh
# All users as a CSV. Run it again after a crash: it goes on where it stopped, and no user is in the file twice.
set -eu

evergrant api GET "${1:-/api/v2/users?pageSize=100}" --paginate --csv id,name,division.name \
  --output users.csv --resume users.state
