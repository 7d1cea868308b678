package sqlstore

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAConditionThatSaysOnlyNotNullIsToldFromOthers(t *testing.T) {
	columns := named("Email", `odd "name`, "b")
	for _, condition := range []string{
		"email IS NOT NULL", "(email is not null)", `"email" NOTNULL`, "[Email] NOT NULL", "`EMAIL` IS/**/NOT -- x\n NULL",
		`((email IS NOT NULL) AND ("odd ""name" IS NOT NULL))`, "email IS NOT NULL AND (b IS NOT NULL AND email NOTNULL)",
	} {
		require.True(t, onlyNotNull(sqlTokens(condition), columns), condition)
	}
	for _, condition := range []string{
		"", "()", "email", "email IS NULL", "email IS NOT NULL OR b IS NOT NULL", "email IS NOT NULL AND", "AND email IS NOT NULL", "deleted IS NOT NULL", "email <> ''", "email IS NOT NULL AND b > 1",
		"NOT email IS NOT NULL", "'email' IS NOT NULL", "lower(email) IS NOT NULL", "email IS NOT NULL) AND (b IS NOT NULL", "(email IS NOT NULL", "email IS NOT NULL COLLATE x", `"email IS NOT NULL"`, `email "IS" NOT NULL`, "(email IS NOT NULL) = false",
	} {
		require.False(t, onlyNotNull(sqlTokens(condition), columns), condition)
	}
}

func named(columns ...string) func(string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return strings.EqualFold(c, name) })
	}
}

func TestAnIndexIsReadFromItsText(t *testing.T) {
	for sql, want := range map[string][]string{
		"CREATE UNIQUE INDEX i ON t (lower(Email))":                                                {"Email"},
		`CREATE UNIQUE INDEX IF NOT EXISTS "a(b" ON "t(" (UPPER ( "a,b" ) COLLATE NOCASE DESC, c)`: {"a,b", ""},
		"CREATE UNIQUE INDEX i ON t (lower(a || b), lower(a COLLATE x), lower(trim(a)), lower(a) || b, (lower(a)), lower('a'), lower(a) COLLATE mine, a ASC, \"lower\"(a))": {"", "", "", "", "", "", "", "", ""},
	} {
		items, condition := indexItems(sql)
		require.Empty(t, condition)
		var columns []string
		for _, item := range items {
			column, _ := caselessItem(item)
			columns = append(columns, column)
		}
		require.Equal(t, want, columns, sql)
	}
	_, condition := indexItems("CREATE UNIQUE INDEX i ON t (a) WHERE a IS NOT NULL")
	require.True(t, onlyNotNull(condition, named("a")))
	for _, broken := range []string{"", "(", ")", "(((", "'", `"`, "[", "/*", "--", "lower(", "lower()", "CREATE INDEX i ON t (", "CREATE INDEX i ON t () WHERE"} {
		items, condition := indexItems(broken)
		for _, item := range items {
			_, ok := caselessItem(item)
			require.False(t, ok)
		}
		require.False(t, onlyNotNull(condition, named("a")))
		_, ok := caselessCall(sqlTokens(broken))
		require.False(t, ok)
	}
}
