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

// A table is a deterministic automaton.
type table struct {
	classes [utf8.RuneSelf]uint8 // the column of a byte
	columns int
	next    []uint16 // by state and column: the next state
	final   []bool   // by state: the end of the text is a match
}

// The first state is always the start.
const found = 0xffff // there is a match, whatever follows

// match tells whether there is a match in text. ok is false if text is not ASCII.
func (t *table) match(text []byte) (match, ok bool) {
	state := uint16(0)
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false, false
		}
		if state = t.next[int(state)*t.columns+int(t.classes[c])]; state == found {
			return true, true
		}
	}
	return t.final[state], true
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
	sample []rune            // a byte of each column
	states map[string]uint16 // by key
	todo   []threads
	steps  int
	seen   []bool // by instruction
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
	b := &builder{prog: prog, table: new(table), states: map[string]uint16{}, seen: make([]bool, len(prog.Inst))}
	b.columns()
	b.state(threads{[]uint32{uint32(prog.Start)}, -1})
	for len(b.todo) > 0 {
		from := b.todo[0]
		b.todo = b.todo[1:]
		for _, c := range b.sample {
			to, match := b.step(from, c)
			state := uint16(found)
			if !match {
				state = b.state(threads{to, kindOfRune(c)})
			}
			b.table.next = append(b.table.next, state)
		}
		_, match := b.step(from, -1)
		b.table.final = append(b.table.final, match)
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
			column = uint8(len(columns))
			columns[string(key)] = column
			b.sample = append(b.sample, c)
		}
		b.table.classes[c] = column
	}
	b.table.columns = len(columns)
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
func (b *builder) state(t threads) uint16 {
	key := binary.AppendVarint(nil, int64(t.last))
	for _, pc := range t.at {
		key = binary.AppendUvarint(key, uint64(pc))
	}
	n, ok := b.states[string(key)]
	if !ok {
		n = uint16(len(b.states))
		b.states[string(key)] = n
		b.todo = append(b.todo, t)
	}
	return n
}

// step follows the threads over a character, or over the end of the text, -1. It tells
// whether there is a match before the character.
func (b *builder) step(from threads, c rune) (to []uint32, match bool) {
	flags := syntax.EmptyOpContext(from.last, c)
	clear(b.seen)
	stack := slices.Clone(from.at)
	for len(stack) > 0 {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if b.seen[pc] {
			continue
		}
		b.seen[pc] = true
		b.steps++
		switch inst := &b.prog.Inst[pc]; inst.Op {
		case syntax.InstMatch:
			return nil, true
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, inst.Out, inst.Arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, inst.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^flags == 0 {
				stack = append(stack, inst.Out)
			}
		case syntax.InstFail:
		default:
			if c >= 0 && inst.MatchRune(c) {
				to = append(to, inst.Out)
			}
		}
	}
	// A match may begin at any place.
	to = append(to, uint32(b.prog.Start))
	slices.Sort(to)
	return slices.Compact(to), false
}
