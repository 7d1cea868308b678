#!/usr/bin/env bash
# MariaDB 10.11.19 leaves out a row that matches, if a prepared statement looks up two keys
# of two columns that differ in case only.
#
# The text column has the collation utf8mb4_bin, and the condition names that collation for
# each argument. It lists two keys, (2,'A') and (2,'a'), and compares their bytes once more.
# Both rows are there. With the collation that the connection has by default,
# utf8mb4_general_ci, the answer has only the first row. With SET NAMES … COLLATE
# utf8mb4_bin before it, the same statement with the same arguments has both.
#
# Output seen:
#   utf8mb4_general_ci: [A]
#   utf8mb4_bin: [A a]
#
# Needs Debian 12 (apt-get download), Go and root. Everything stays in a temporary folder.
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

mkdir program && cd program
cat >go.mod <<'END'
module finding

go 1.26

require github.com/go-sql-driver/mysql v1.10.1
END
cat >main.go <<'END'
package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	_ "github.com/go-sql-driver/mysql"
)

const key = "(tenant=? AND id=CONVERT(? USING utf8mb4) COLLATE utf8mb4_bin AND tenant=? AND CAST(CONVERT(id USING utf8mb4) AS BINARY)=CAST(? AS BINARY))"

func main() {
	db, err := sql.Open("mysql", "root@unix("+os.Args[1]+")/?multiStatements=true")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	run := func(statement string) {
		if _, err := db.Exec(statement); err != nil {
			log.Fatal(err)
		}
	}
	run("CREATE DATABASE x; USE x; CREATE TABLE t (tenant bigint NOT NULL, id varchar(40) COLLATE utf8mb4_bin NOT NULL, PRIMARY KEY (tenant, id)); INSERT INTO t VALUES (2, 'A'), (2, 'a')")
	for _, collation := range []string{"utf8mb4_general_ci", "utf8mb4_bin"} {
		run("SET NAMES utf8mb4 COLLATE " + collation)
		rows, err := db.Query("SELECT id FROM t WHERE "+key+" OR "+key+" ORDER BY id", 2, "A", 2, "A", 2, "a", 2, "a")
		if err != nil {
			log.Fatal(err)
		}
		var ids []string
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				log.Fatal(err)
			}
			ids = append(ids, id)
		}
		fmt.Printf("%s: %v\n", collation, ids)
	}
}
END
GOFLAGS=-mod=mod go mod tidy >/dev/null 2>&1
got=$(GOFLAGS=-mod=mod go run . "$dir/s.sock")
echo "$got"
want='utf8mb4_general_ci: [A]
utf8mb4_bin: [A a]'
[ "$got" = "$want" ] || { echo "the behaviour has changed" >&2; exit 1; }
