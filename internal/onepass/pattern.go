package onepass

import (
	"encoding/binary"
	"regexp"
	"regexp/syntax"
	"slices"
	"sync"
	"unicode/utf8"
)

// A Pattern is a regular expression. For text in ASCII it is a table, which takes a step a
// byte; package regexp takes many.
type Pattern struct {
	re    *regexp.Regexp
	table func() *table // nil: none
}

// NewPattern takes what regexp.Compile returns.
func NewPattern(re *regexp.Regexp) *Pattern {
	return &Pattern{re, sync.OnceValue(func() *table { return newTable(re.String()) })}
}

// A pattern is a Pattern whose table is made.
type pattern struct {
	re    *regexp.Regexp
	table *table
}

func (p *Pattern) ready() *pattern {
	if p == nil {
		return nil
	}
	return &pattern{p.re, p.table()}
}

func (p *pattern) match(text []byte) bool {
	if p.table != nil {
		if found, ok := p.table.match(text); ok {
			return found
		}
	}
	return p.re.Match(text)
}

// A table is a deterministic automaton. Its states are the indexes of their first cells in
// next. The first state is the start.
type table struct {
	columns [256]uint8 // of bytes
	width   int        // how many columns there are
	next    []uint32   // the next state, or one of those below
}

const (
	atEnd    = 0 // the column of the end of the text
	notASCII = 1 // the column of bytes that are not ASCII

	found    = 1<<32 - 1 // there is a match, whatever follows
	notFound = 1<<32 - 2 // at the end of the text
	leave    = 1<<32 - 3 // to package regexp
)

// match tells whether there is a match in text. ok is false if text is not ASCII.
func (t *table) match(text []byte) (match, ok bool) {
	state := uint32(0)
	for _, c := range text {
		if state = t.next[state+uint32(t.columns[c])]; state >= leave {
			return state == found, state == found
		}
	}
	return t.next[state+atEnd] == found, true
}

// What a table may cost. A pattern that needs more has none.
const (
	maxStates = 1024
	maxSteps  = 1 << 20
)

// A builder makes a table from a program of package syntax, by following all threads of
// the program at once.
type builder struct {
	prog   *syntax.Prog
	table  *table
	sample []rune            // a character of each column
	states map[string]uint32 // by key
	todo   []threads
	steps  int

	// For one step.
	stack, to []uint32
	seen      []int // by instruction, the number of the step that came to it last
	key       []byte
}

// threads are the instructions at which the threads of a program are, before assertions
// such as $ are decided, and what was read last, which decides assertions.
type threads struct {
	at   []uint32
	last rune
}

func newTable(expr string) *table {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil
	}
	b := &builder{prog: prog, table: new(table), states: map[string]uint32{}, seen: make([]int, len(prog.Inst))}
	b.columns()
	b.state(threads{[]uint32{uint32(prog.Start)}, -1})
	for len(b.todo) > 0 {
		from := b.todo[0]
		b.todo = b.todo[1:]
		end := uint32(notFound)
		if _, match := b.step(from, -1); match {
			end = found
		}
		b.table.next = append(b.table.next, end, leave)
		for _, c := range b.sample {
			to, match := b.step(from, c)
			state := uint32(found)
			if !match {
				state = b.state(threads{to, kindOfRune(c)})
			}
			b.table.next = append(b.table.next, state)
		}
		if len(b.states) > maxStates || b.steps > maxSteps {
			return nil
		}
	}
	return b.table
}

// columns gives bytes one column that no instruction and no assertion tells apart.
func (b *builder) columns() {
	type runes struct {
		text string
		fold uint32
	}
	known := map[runes]bool{}
	var insts []syntax.Inst
	for _, inst := range b.prog.Inst {
		if key := (runes{string(inst.Rune), inst.Arg}); isRune(inst.Op) && !known[key] {
			known[key] = true
			insts = append(insts, inst)
		}
	}
	for c := range b.table.columns {
		b.table.columns[c] = notASCII
	}
	columns := map[string]uint8{}
	for c := rune(0); c < utf8.RuneSelf; c++ {
		key := []byte{byte(kindOfRune(c))}
		for i := range insts {
			if insts[i].MatchRune(c) {
				key = append(key, 1)
			} else {
				key = append(key, 0)
			}
		}
		column, ok := columns[string(key)]
		if !ok {
			column = notASCII + 1 + uint8(len(columns))
			columns[string(key)] = column
			b.sample = append(b.sample, c)
		}
		b.table.columns[c] = column
	}
	b.table.width = notASCII + 1 + len(columns)
}

func isRune(op syntax.InstOp) bool {
	return op == syntax.InstRune || op == syntax.InstRune1 || op == syntax.InstRuneAny || op == syntax.InstRuneAnyNotNL
}

// kindOfRune returns a character that assertions do not tell from c.
func kindOfRune(c rune) rune {
	switch {
	case c == '\n':
		return c
	case syntax.IsWordChar(c):
		return 'a'
	}
	return ' '
}

// state returns the number of a state, and adds it if it is new.
func (b *builder) state(t threads) uint32 {
	b.key = binary.AppendVarint(b.key[:0], int64(t.last))
	for _, pc := range t.at {
		b.key = binary.AppendUvarint(b.key, uint64(pc))
	}
	n, ok := b.states[string(b.key)]
	if !ok {
		n = uint32(len(b.states) * b.table.width)
		b.states[string(b.key)] = n
		b.todo = append(b.todo, threads{slices.Clone(t.at), t.last})
	}
	return n
}

// step follows the threads over a character, or over the end of the text, -1. It tells
// whether there is a match before the character. The threads are good until the next step.
func (b *builder) step(from threads, c rune) (to []uint32, match bool) {
	flags := syntax.EmptyOpContext(from.last, c)
	b.steps++
	this := b.steps
	b.to = b.to[:0]
	for b.stack = append(b.stack[:0], from.at...); len(b.stack) > 0; {
		pc := b.stack[len(b.stack)-1]
		b.stack = b.stack[:len(b.stack)-1]
		if b.seen[pc] >= this {
			continue
		}
		b.steps++
		b.seen[pc] = b.steps
		switch inst := &b.prog.Inst[pc]; inst.Op {
		case syntax.InstMatch:
			return nil, true
		case syntax.InstAlt, syntax.InstAltMatch:
			b.stack = append(b.stack, inst.Out, inst.Arg)
		case syntax.InstCapture, syntax.InstNop:
			b.stack = append(b.stack, inst.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^flags == 0 {
				b.stack = append(b.stack, inst.Out)
			}
		case syntax.InstFail:
		default:
			if c >= 0 && inst.MatchRune(c) {
				b.to = append(b.to, inst.Out)
			}
		}
	}
	// A match may begin at any place.
	b.to = append(b.to, uint32(b.prog.Start))
	slices.Sort(b.to)
	return slices.Compact(b.to), false
}
