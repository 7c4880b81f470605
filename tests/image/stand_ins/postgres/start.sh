#!/bin/sh
# Make the cluster at the first start, then be the server.
set -eu
data=$PGDATA
mkdir -p "$data" /var/run/postgresql
chown -R postgres "$data" /var/run/postgresql
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
if [ ! -s "$data/PG_VERSION" ]; then
    printf '%s\n' "$POSTGRES_PASSWORD" > /run/password
    chown postgres /run/password
    as_postgres initdb -D "$data" -U "$POSTGRES_USER" --pwfile /run/password --auth-local trust --auth-host scram-sha-256
    rm /run/password
    as_postgres postgres --single -D "$data" postgres <<SQL
CREATE DATABASE "$POSTGRES_DB"
SQL
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
fi
exec setpriv --reuid postgres --regid postgres --clear-groups postgres -D "$data" -c 'listen_addresses=*'
