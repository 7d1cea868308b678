#!/usr/bin/env bash
# In MariaDB 10.11.19, an INSERT … ON DUPLICATE KEY UPDATE without a key overwrites a row that
# another transaction inserts later.
#
# A transaction locks all rows and gaps of the primary key with SELECT … FOR UPDATE. Another session
# inserts a row without the AUTO_INCREMENT key. InnoDB gives it the number 2 before it waits
# for the gap. The transaction then inserts its own row under 2, which nobody has yet, and
# commits. The statement that waited finds 2 taken, takes that for its duplicate, and updates
# the row of the other. A plain INSERT fails with the error 1062.
#
# Output seen:
#   1 first old
#   2 imported overwritten
#
# Needs Debian 12 (apt-get download) and root. Everything stays in a temporary folder.
set -euo pipefail
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server" 2>/dev/null || true; }; rm -rf "$dir"' EXIT
cd "$dir"
version=1:10.11.19-0+deb12u1
apt-get download -q mariadb-server-core=$version mariadb-client-core=$version libmariadb3=$version liburing2 libaio1 libnuma1 >/dev/null
for package in *.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
mkdir data
unpacked/usr/bin/mariadb-install-db --no-defaults --basedir="$dir/unpacked/usr" --user=root --datadir="$dir/data" --auth-root-authentication-method=normal --skip-test-db >install.log 2>&1
unpacked/usr/sbin/mariadbd --no-defaults --basedir="$dir/unpacked/usr" --user=root --datadir="$dir/data" --socket="$dir/s.sock" --pid-file="$dir/pid" --skip-networking >server.log 2>&1 &
server=$!
for _ in $(seq 60); do [ -S s.sock ] && break; sleep 0.5; done
client() { unpacked/usr/bin/mariadb --no-defaults --socket="$dir/s.sock" --user=root --batch --skip-column-names "$@"; }

client -e "CREATE DATABASE x; CREATE TABLE x.t (id int AUTO_INCREMENT PRIMARY KEY, name varchar(20) UNIQUE, v varchar(20)); INSERT INTO x.t VALUES (1, 'first', 'old')"
mkfifo statements
client --unbuffered x <statements >locked &
importer=$!
exec 3>statements
echo "BEGIN; SELECT 'locked', max(rand()) FROM t FORCE INDEX (PRIMARY) FOR UPDATE;" >&3
until grep -q locked locked; do sleep 0.1; done
client x -e "INSERT INTO t (name, v) VALUES ('app', 'new') ON DUPLICATE KEY UPDATE v = 'overwritten'" &
app=$!
until [ "$(client -e "SELECT count(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'")" = 1 ]; do sleep 0.2; done
echo "INSERT INTO t VALUES (2, 'imported', 'kept'); COMMIT;" >&3
exec 3>&-
wait "$importer" "$app"
got=$(client x -e "SELECT concat(id, ' ', name, ' ', v) FROM t ORDER BY id")
echo "$got"
want='1 first old
2 imported overwritten'
[ "$got" = "$want" ] || { echo "the behaviour has changed" >&2; exit 1; }
