package sqlstore

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A sqlToken is a word, a name in quotes, or a symbol of SQL.
type sqlToken struct {
	text string // a name is without its quotes
	kind sqlTokenKind
}

type sqlTokenKind int

const (
	symbolToken sqlTokenKind = iota // one character, or a text in single quotes
	wordToken                       // a keyword, a name or a number
	quotedToken                     // a name in quotes
)

// is tells whether the token is a keyword or a symbol.
func (t sqlToken) is(text string) bool {
	return t.kind != quotedToken && strings.EqualFold(t.text, text)
}

func (t sqlToken) isName() bool { return t.kind != symbolToken }

// sqlTokens returns the tokens of SQL that a database has accepted, without comments.
func sqlTokens(sql string) (tokens []sqlToken) {
	for sql != "" {
		r, size := utf8.DecodeRuneInString(sql)
		switch {
		case unicode.IsSpace(r):
			sql = sql[size:]
		case strings.HasPrefix(sql, "--"):
			_, sql, _ = strings.Cut(sql, "\n")
		case strings.HasPrefix(sql, "/*"):
			_, sql, _ = strings.Cut(sql[2:], "*/")
		case strings.ContainsRune("\"`['", r):
			var t sqlToken
			t, sql = quotedSQL(sql)
			tokens = append(tokens, t)
		case isWordRune(r):
			end := strings.IndexFunc(sql, func(r rune) bool { return !isWordRune(r) })
			if end < 0 {
				end = len(sql)
			}
			tokens = append(tokens, sqlToken{sql[:end], wordToken})
			sql = sql[end:]
		default:
			tokens = append(tokens, sqlToken{sql[:size], symbolToken})
			sql = sql[size:]
		}
	}
	return tokens
}

func isWordRune(r rune) bool {
	return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// quotedSQL returns the name or text in quotes with which sql begins, and what follows.
func quotedSQL(sql string) (t sqlToken, rest string) {
	end := sql[0]
	if end == '[' {
		end = ']'
	}
	var b strings.Builder
	i := 1
	for ; i < len(sql); i++ {
		if sql[i] == end {
			if end == ']' || i+1 >= len(sql) || sql[i+1] != end {
				break
			}
			i++ // quotes twice are the quotes themselves
		}
		b.WriteByte(sql[i])
	}
	t = sqlToken{b.String(), quotedToken}
	if end == '\'' {
		t = sqlToken{"'" + t.text + "'", symbolToken}
	}
	return t, sql[min(i+1, len(sql)):]
}

// cutParentheses returns the tokens in the parentheses with which tokens begin, and those
// behind them. ok is false if tokens do not begin so.
func cutParentheses(tokens []sqlToken) (inside, rest []sqlToken, ok bool) {
	depth := 0
	for i, t := range tokens {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		}
		if depth == 0 {
			return tokens[min(1, i):i], tokens[i+1:], i > 0
		}
	}
	return nil, nil, false
}

// splitTokens splits tokens at a keyword or symbol that is in no parentheses.
func splitTokens(tokens []sqlToken, at string) (parts [][]sqlToken) {
	depth, start := 0, 0
	for i, t := range tokens {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth == 0 && t.is(at):
			parts = append(parts, tokens[start:i])
			start = i + 1
		}
	}
	return append(parts, tokens[start:])
}

// onlyNotNull tells whether a condition says no more than that some of the named columns
// are not NULL.
func onlyNotNull(condition []sqlToken, isNamed func(string) bool) bool {
	if inside, rest, ok := cutParentheses(condition); ok && len(rest) == 0 {
		return onlyNotNull(inside, isNamed)
	}
	if terms := splitTokens(condition, "AND"); len(terms) > 1 {
		return !slices.ContainsFunc(terms, func(term []sqlToken) bool { return !onlyNotNull(term, isNamed) })
	}
	if len(condition) < 2 || !condition[0].isName() || !isNamed(condition[0].text) {
		return false
	}
	for _, form := range [][]string{{"IS", "NOT", "NULL"}, {"NOT", "NULL"}, {"NOTNULL"}} {
		if slices.EqualFunc(condition[1:], form, sqlToken.is) {
			return true
		}
	}
	return false
}

// caselessCall returns the column of lower(column) or upper(column).
func caselessCall(expression []sqlToken) (column string, ok bool) {
	if len(expression) < 4 || !expression[0].is("lower") && !expression[0].is("upper") {
		return "", false
	}
	inside, rest, ok := cutParentheses(expression[1:])
	if !ok || len(rest) > 0 || !inside[0].isName() {
		return "", false
	}
	cast := inside[1:] // PostgreSQL writes lower(name::text)
	if len(cast) > 0 && !slices.EqualFunc(cast, []string{":", ":", "text"}, sqlToken.is) {
		return "", false
	}
	return inside[0].text, true
}
