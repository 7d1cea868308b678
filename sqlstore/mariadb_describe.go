package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"strings"
)

// uniqueIndexes takes an index on the beginning of a text for one on all of it, which holds
// then all the more. It leaves out an ENUM or SET with an empty label: what is stored for a
// label that does not exist is empty too.
func (tx *mariadbTx) uniqueIndexes(ctx context.Context, t *table) (indexes []uniqueIndex, err error) {
	last := ""
	err = tx.each(ctx, `SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX`, []any{t.my.schema, t.plain}, func(rows *sql.Rows) error {
		var index string
		part := uniquePart{}
		if err := rows.Scan(&index, &part.column); err != nil {
			return err
		}
		if i := findColumn(t.columns, part.column); i >= 0 {
			part.casing = t.columns[i].my.casing()
		}
		if index != last {
			last, indexes = index, append(indexes, nil)
		}
		indexes[len(indexes)-1] = append(indexes[len(indexes)-1], part)
		return nil
	})
	return slices.DeleteFunc(indexes, func(index uniqueIndex) bool {
		return slices.ContainsFunc(index, func(part uniquePart) bool {
			i := findColumn(t.columns, part.column)
			return i >= 0 && slices.Contains(t.columns[i].my.labels, "")
		})
	}), err
}

// foldingCollations are the collations that take each of the letters a to z for its capital,
// whatever is beside it. Those of a language may not: in Czech, cH is not ch.
var foldingCollations = func() (names []string) {
	for _, charset := range []string{"utf8mb4", "utf8mb3", "utf8"} {
		for _, name := range []string{"general_ci", "general_nopad_ci", "unicode_ci", "unicode_nopad_ci", "unicode_520_ci", "unicode_520_nopad_ci",
			"uca1400_ai_ci", "uca1400_as_ci", "uca1400_nopad_ai_ci", "uca1400_nopad_as_ci"} {
			names = append(names, charset+"_"+name)
		}
	}
	return append(names, "latin1_swedish_ci", "latin1_swedish_nopad_ci", "latin1_general_ci", "ascii_general_ci", "ascii_general_nopad_ci")
}()

func (c *mariadbColumn) casing() casing {
	switch folds := slices.Contains(foldingCollations, strings.ToLower(c.collation)); {
	case c.family == texts && folds:
		return caseFolds
	case c.family == texts, c.family == binaries, c.family == documents, c.family == labels && !folds:
		return caseCounts
	}
	return caseNever
}
