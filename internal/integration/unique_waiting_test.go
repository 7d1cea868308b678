//go:build !race

package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
)

func TestUniqueARecordThatWaitsIsThereForItsTransaction(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		ctx := t.Context()
		s := uniqueCase{schema: `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL UNIQUE)`}.store(t, d, "('a','x'),('b','y'),('c','z')")
		sees := func(w backup.Writer, want ...string) {
			t.Helper()
			var keys, all []string
			for key, err := range w.Keys(ctx, "items") {
				require.NoError(t, err)
				keys = append(keys, key)
			}
			require.ElementsMatch(t, keysOf(want), keys)
			for r, err := range w.(backup.Reader).Records(ctx, "items") {
				require.NoError(t, err)
				all = append(all, r.Key+" "+string(r.Value))
			}
			require.ElementsMatch(t, want, all)
			found, err := w.Lookup(ctx, "items", []string{"a", "b", "c", "d", "e"})
			require.NoError(t, err)
			all = nil
			for _, r := range found {
				all = append(all, r.Key+" "+string(r.Value))
			}
			require.ElementsMatch(t, want, all)
		}
		rec := func(id, name string) string { return fmt.Sprintf(`%s {"id":"%s","name":"%s"}`, id, id, name) }
		require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
			put := func(records ...string) { require.NoError(t, w.Put(ctx, "items", recordsOf(records))) }
			put(rec("a", "y"), rec("d", "z"))
			sees(w, rec("a", "y"), rec("b", "y"), rec("c", "z"), rec("d", "z"))
			put(rec("b", "x"), rec("d", "new"), rec("e", "z"))
			sees(w, rec("a", "y"), rec("b", "x"), rec("c", "z"), rec("d", "new"), rec("e", "z"))
			require.NoError(t, w.Delete(ctx, "items", []string{"e", "c"}))
			sees(w, rec("a", "y"), rec("b", "x"), rec("d", "new"))
			require.NoError(t, settle(t, w))
			sees(w, rec("a", "y"), rec("b", "x"), rec("d", "new"))
			// More may change after that.
			put(rec("a", "x"), rec("b", "new"), rec("d", "y"))
			require.NoError(t, settle(t, w))
			put(rec("a", "new"), rec("b", "x"))
			return nil
		}))
		require.Equal(t, []string{rec("a", "new"), rec("b", "x"), rec("d", "y")}, dump(t, s, "items"))
	})
}

// TestUniqueValuesMoveAndNothingOfTheHostIsLost: what hangs on the records stays, and so
// does what only the host has of them.
func TestUniqueValuesMoveAndNothingOfTheHostIsLost(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		db := d.open(t, "SELECT 1")
		for _, column := range []string{"id", "code"} {
			for _, action := range []string{"ON DELETE CASCADE", "ON DELETE SET NULL", "", "ON DELETE RESTRICT", "ON DELETE CASCADE ON UPDATE CASCADE", "ON UPDATE SET NULL", "ON UPDATE CASCADE"} {
				// What is NOT NULL and checked leaves little that can stand in.
				for _, name := range []string{"VARCHAR(20) UNIQUE", "VARCHAR(20) NOT NULL UNIQUE", "VARCHAR(20) NOT NULL UNIQUE CHECK (name IN ('x', 'y'))"} {
					for _, host := range []string{"", ", seen VARCHAR(20)"} {
						if column == "code" && d.name != "PostgreSQL" && action != "" {
							continue // a reference to what records can change is an error if it dangles
						}
						t.Run(column+" "+action+" "+name+host, func(t *testing.T) {
							s := sqlstore.Store{Dialect: d.dialect, Tables: []sqlstore.Table{{Collection: "items", Key: "id"}}}
							s.DB = db
							exec(t, db, `DROP TABLE IF EXISTS hangs; DROP TABLE IF EXISTS items; CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name `+name+`, code VARCHAR(9) NOT NULL UNIQUE`+host+`);
								CREATE TABLE hangs (id INT PRIMARY KEY, item VARCHAR(9), FOREIGN KEY (item) REFERENCES items (`+column+`) `+action+`)`)
							values := "('a','x','p'),('b','y','q')"
							if host != "" {
								s.Tables[0].Exclude = []string{"seen"}
								values = "('a','x','p','today'),('b','y','q','never')"
							}
							exec(t, s.DB, "INSERT INTO items VALUES "+values)
							refers := map[string]string{"id": "'a'", "code": "'p'"}[column]
							exec(t, s.DB, "INSERT INTO hangs VALUES (1, "+refers+")")
							hangs := func() []string { return columnOf(t, s, "SELECT item FROM hangs WHERE item IS NOT NULL") }
							before, hung := dump(t, s, "items"), hangs()
							err := put(s, "items", record("a", `{"id":"a","name":"y","code":"p"}`), record("b", `{"id":"b","name":"x","code":"q"}`))
							if err != nil {
								// It is refused if there is no way without a loss.
								require.ErrorIs(t, err, backup.ErrClash)
								require.ErrorContains(t, err, "the records exchange the value")
								require.Contains(t, name, "CHECK")
								require.Equal(t, before, dump(t, s, "items"))
								require.Equal(t, "PostgreSQL", d.name)
								require.True(t, host != "" || action != "")
							} else {
								require.Equal(t, []string{`a {"id":"a","name":"y","code":"p"}`, `b {"id":"b","name":"x","code":"q"}`}, dump(t, s, "items"))
							}
							require.Equal(t, hung, hangs())
							if host != "" {
								require.Equal(t, []string{"today", "never"}, columnOf(t, s, "SELECT seen FROM items ORDER BY id"))
							}
						})
					}
				}
			}
		}
	})
}

func columnOf(t *testing.T, s sqlstore.Store, query string) []string { return column(t, s.DB, query) }

func TestUniqueNameUnderANewKeyWhileOthersReferToTheOld(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		for _, owner := range []string{"VARCHAR(9)", "VARCHAR(9) NOT NULL"} {
			schema := `CREATE TABLE users (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL UNIQUE);
				CREATE TABLE notes (id VARCHAR(9) PRIMARY KEY NOT NULL, owner ` + owner + ` UNIQUE, title VARCHAR(9) UNIQUE, FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE)`
			tables := []sqlstore.Table{{Collection: "notes"}, {Collection: "users"}}
			states := [][2]string{
				{"('u1','ann'),('u2','bob')", "('n1','u1','x'),('n2','u2','y')"},
				{"('u3','ann'),('u2','carol')", "('n1','u3','x'),('n2','u2','y')"},
				{"('u1','bob'),('u4','ann')", "('n1','u4','y'),('n2','u1','x')"},
				{"('u1','bob'),('u2','ann')", "('n1','u2','y'),('n2','u1','x')"},
			}
			var users, notes [][]string
			var s sqlstore.Store
			for _, state := range states {
				s = sqlstore.Store{DB: d.open(t, schema), Dialect: d.dialect, Tables: tables}
				exec(t, s.DB, "INSERT INTO users VALUES "+state[0])
				exec(t, s.DB, "INSERT INTO notes VALUES "+state[1])
				users, notes = append(users, dump(t, s, "users")), append(notes, dump(t, s, "notes"))
			}
			for _, first := range []string{"users", "notes"} {
				for from := range states {
					for to := range states {
						for _, i := range []int{from, to} {
							require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
								want := map[string][]string{"users": users[i], "notes": notes[i]}
								second := map[string]string{"users": "notes", "notes": "users"}[first]
								for _, c := range []string{second, first} {
									var gone []string
									for key := range w.Keys(t.Context(), c) {
										if !strings.Contains(strings.Join(want[c], "\n"), key+" {") {
											gone = append(gone, key)
										}
									}
									if err := w.Delete(t.Context(), c, gone); err != nil {
										return err
									}
								}
								for _, c := range []string{first, second} {
									if err := w.Put(t.Context(), c, recordsOf(want[c])); err != nil {
										return err
									}
								}
								return nil
							}), "%s first, from %d to %d", first, from, to)
							require.Equal(t, users[i], dump(t, s, "users"))
							require.Equal(t, notes[i], dump(t, s, "notes"))
						}
					}
				}
			}
		}
	})
}

func TestUniqueKeysOfSeveralColumnsAndMaps(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		s := d.new(t, `CREATE TABLE m (a INT NOT NULL, b VARCHAR(9) NOT NULL, v VARCHAR(9) NOT NULL UNIQUE, PRIMARY KEY (a, b)); CREATE TABLE settings (k VARCHAR(9) PRIMARY KEY NOT NULL, v VARCHAR(9) NOT NULL UNIQUE, host VARCHAR(9) DEFAULT 'mine')`,
			sqlstore.Table{Collection: "m", Key: "b,a"}, sqlstore.Table{Collection: "settings", Key: "k", Value: "v"})
		rec := func(b, a, v string) backup.Record {
			return record(joined(b, a), fmt.Sprintf(`{"a":%s,"b":"%s","v":"%s"}`, a, b, v))
		}
		require.NoError(t, put(s, "m", rec("x", "1", "p"), rec("y", "1", "q"), rec("x", "2", "r")))
		require.NoError(t, put(s, "m", rec("x", "1", "q"), rec("y", "1", "r"), rec("x", "2", "p")))
		require.Equal(t, []string{"q", "p", "r"}, columnOf(t, s, "SELECT v FROM m ORDER BY b, a"))
		err := put(s, "m", rec("z", "1", "q"))
		require.ErrorContains(t, err, `clashes with "[\"x\",\"1\"]"`)
		require.NoError(t, put(s, "settings", record("a", `"x"`), record("b", `"y"`)))
		require.NoError(t, put(s, "settings", record("a", `"y"`), record("b", `"x"`)))
		require.Equal(t, []string{"y mine", "x mine"}, columnOf(t, s, map[bool]string{true: "SELECT CONCAT(v, ' ', host) FROM settings ORDER BY k", false: "SELECT v || ' ' || host FROM settings ORDER BY k"}[d.name == "MariaDB"]))
	})
}

// TestUniquePositionsOfALongList counts no time, but would not end if each position took a
// look at all others.
func TestUniquePositionsOfALongList(t *testing.T) {
	n := testtime.Pick(t, 1000, 10000)
	inEach(t, func(t *testing.T, d database) {
		for _, null := range []string{"", "NOT NULL"} {
			s := uniqueCase{schema: "CREATE TABLE items (id INT PRIMARY KEY NOT NULL, pos INT " + null + " UNIQUE)"}.store(t, d, "(0, 0)")
			state := func(pos func(i int) int) (records []backup.Record) {
				for i := range n {
					records = append(records, record(fmt.Sprint(i), fmt.Sprintf(`{"id":%d,"pos":%d}`, i, pos(i))))
				}
				return records
			}
			shuffled := rand.New(rand.NewPCG(1, 2)).Perm(n)
			require.NoError(t, put(s, "items", state(func(i int) int { return i })...))
			for _, c := range []struct {
				name string
				pos  func(i int) int
			}{
				{"one further", func(i int) int { return i + 1 }}, {"one back", func(i int) int { return i }}, {"pairs", func(i int) int { return i ^ 1 }},
				{"backwards", func(i int) int { return n - 1 - i }}, {"shuffled", func(i int) int { return shuffled[i] }}, {"shuffled, one further", func(i int) int { return (shuffled[i] + 1) % n }},
			} {
				start := time.Now()
				require.NoError(t, put(s, "items", state(c.pos)...), c.name)
				t.Logf("%s %s %s: %v", d.name, null, c.name, time.Since(start))
				var want []string
				for i := range n {
					want = append(want, fmt.Sprint(c.pos(i)))
				}
				require.Equal(t, want, columnOf(t, s, "SELECT pos FROM items ORDER BY id"))
			}
		}
	})
}

func TestUniqueMariaDBRefusesKeysWithoutOverlaps(t *testing.T) {
	db, _ := newMariaDB(t, "CREATE TABLE things (id int PRIMARY KEY, room int COMMENT '` WITHOUT OVERLAPS)', s date, e date, PERIOD FOR p(s,e), UNIQUE (room, p WITHOUT OVERLAPS)); CREATE TABLE fine (id int PRIMARY KEY, room int COMMENT '` WITHOUT OVERLAPS)')")
	_, err := tryDump(my(db, sqlstore.Table{Collection: "things"}), "things")
	require.ErrorContains(t, err, "it has a key WITHOUT OVERLAPS")
	_, _, err = sqlstore.Store{DB: db, Dialect: sqlstore.MariaDB}.Describe(t.Context())
	require.ErrorContains(t, err, "it has a key WITHOUT OVERLAPS")
	_, _, err = sqlstore.Store{DB: db, Dialect: sqlstore.MariaDB, Exclude: []string{"things"}}.Describe(t.Context())
	require.NoError(t, err)
}

// TestUniqueEachStateIsReachedFromEach moves between random states of two tables, whatever
// waits for what.
func TestUniqueEachStateIsReachedFromEach(t *testing.T) {
	const groups, items = 6, 12
	inEach(t, func(t *testing.T, d database) {
		flag := map[bool]string{true: "", false: "CREATE UNIQUE INDEX one ON items (grp) WHERE main = 1;"}[d.name == "MariaDB"]
		schema := `CREATE TABLE groups_ (id INT PRIMARY KEY NOT NULL, name VARCHAR(9) NOT NULL UNIQUE, pos INT NOT NULL UNIQUE CHECK (pos >= 0 AND pos < 6), head INT UNIQUE);
			CREATE TABLE items (id INT PRIMARY KEY NOT NULL, grp INT NOT NULL, name VARCHAR(9) NOT NULL, pos SMALLINT UNIQUE, main INT NOT NULL CHECK (main IN (0, 1)), UNIQUE (grp, name), FOREIGN KEY (grp) REFERENCES groups_ (id) ON DELETE CASCADE);
			CREATE TABLE hangs (id INT PRIMARY KEY, item INT REFERENCES items (id) ON DELETE CASCADE);` + flag
		if d.name == "PostgreSQL" {
			// A row on which others hang needs a free value for the moment.
			schema = strings.Replace(schema, "pos < 6", "pos < 9", 1)
		}
		if d.name != "SQLite" {
			schema += "ALTER TABLE groups_ ADD FOREIGN KEY (head) REFERENCES items (id)"
		}
		for _, seed := range []uint64{1, 2} {
			random := rand.New(rand.NewPCG(seed, 7))
			s := sqlstore.Store{DB: d.open(t, schema), Dialect: d.dialect, Tables: []sqlstore.Table{{Collection: "items"}, {Collection: "groups_"}}}
			state := func() map[string][]string {
				of := map[string][]string{}
				names, positions, heads, places := random.Perm(groups), random.Perm(groups), random.Perm(items), random.Perm(items)
				there, mains, taken := map[int]bool{}, map[int]bool{}, map[string]bool{}
				item0 := random.IntN(3)
				for id := range groups {
					if id > 0 && random.IntN(4) == 0 {
						continue
					}
					there[id] = true
					head := "null"
					if heads[id] >= item0+3 {
						head = fmt.Sprint(heads[id])
					}
					of["groups_"] = append(of["groups_"], fmt.Sprintf(`%d {"id":%d,"name":"g%d","pos":%d,"head":%s}`, id, id, names[id], positions[id], head))
				}
				for id := item0 + 3; id < items; id++ {
					grp, name, pos, main := 0, "", "null", 0
					for name == "" || taken[name] {
						if grp = random.IntN(groups); there[grp] {
							name = fmt.Sprintf(`%d,"name":"n%d"`, grp, random.IntN(5))
						}
					}
					taken[name] = true
					if random.IntN(3) > 0 {
						pos = fmt.Sprint(places[id])
					}
					if !mains[grp] && random.IntN(2) == 0 {
						main, mains[grp] = 1, true
					}
					of["items"] = append(of["items"], fmt.Sprintf(`%d {"id":%d,"grp":%s,"pos":%s,"main":%d}`, id, id, name, pos, main))
				}
				return of
			}
			for range testtime.Pick(t, 40, 150) {
				want := state()
				exec(t, s.DB, "DELETE FROM hangs")
				for i, id := range columnOf(t, s, "SELECT id FROM items") {
					exec(t, s.DB, fmt.Sprintf("INSERT INTO hangs VALUES (%d, %s)", i, id))
				}
				require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
					order := []string{"groups_", "items"}
					if random.IntN(2) == 0 {
						order = []string{"items", "groups_"}
					}
					for _, c := range order {
						kept := map[string]bool{}
						for _, r := range recordsOf(want[c]) {
							kept[r.Key] = true
						}
						var gone []string
						for key, err := range w.Keys(t.Context(), c) {
							if err != nil {
								return err
							}
							if !kept[key] {
								gone = append(gone, key)
							}
						}
						if err := w.Delete(t.Context(), c, gone); err != nil {
							return err
						}
					}
					for _, c := range order {
						records := recordsOf(want[c])
						random.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
						if err := w.Put(t.Context(), c, records); err != nil {
							return err
						}
					}
					return nil
				}))
				for c, records := range want {
					require.Equal(t, records, dump(t, s, c))
				}
				hangs := columnOf(t, s, "SELECT item FROM hangs")
				for _, id := range hangs {
					require.Contains(t, keysOf(want["items"]), id)
				}
			}
		}
	})
}
