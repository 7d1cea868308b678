package onepass

// object reads the object that begins at an index.
func (w *walk) object(at int, c *objectCheck) int {
	if w.depth <= 0 {
		return unknown
	}
	w.depth--
	seen, names := len(w.seen), len(w.names)
	for range c.required { // a bit for each member
		w.seen = append(w.seen, 0)
	}
	end, count := w.members(at, c, seen)
	if end >= 0 {
		if v := w.complete(at, end, c, count, w.seen[seen:]); v != yes {
			end = v
		}
	}
	w.seen, w.names = w.seen[:seen], w.names[:names]
	w.depth++
	return end
}

// members reads the members of an object, and counts them.
func (w *walk) members(at int, c *objectCheck, seen int) (end, count int) {
	text := w.text
	i := at + 1
	if i < len(text) && text[i] == '}' {
		return i + 1, 0
	}
	names := nameSet{first: len(w.names)}
	last := 0 // the index of the last known member plus one
	for {
		count++
		var m *member
		if len(c.members) > 0 {
			m = &c.members[c.next[last].Load()]
			if n := i + len(m.literal); n <= len(text) && string(text[i:n]) == m.literal {
				i = n
			} else {
				m = nil
			}
		}
		if m == nil {
			if m, i = w.name(i, c, last, &names); i < 0 {
				return i, count
			}
		}
		if m != nil {
			word, bit := &w.seen[seen+m.index/64], uint64(1)<<(m.index%64)
			if *word&bit != 0 {
				return unknown, count
			}
			*word |= bit
			last = m.index + 1
			if m.allowed != yes {
				return m.allowed, count
			}
			start := i
			if i = w.value(i, m.check); m.also != nil && i >= 0 {
				i = w.also(start, i, m.also)
			}
		} else {
			i = w.otherMember(i, c)
		}
		if i < 0 {
			return i, count
		}
		if i >= len(text) {
			return unknown, count
		}
		switch text[i] {
		case ',':
			i++
		case '}':
			if !names.differ(w) {
				return unknown, count
			}
			return i + 1, count
		default:
			return unknown, count
		}
	}
}

// name reads the name of a member, and the colon. It returns the member if it is known,
// and otherwise adds the name to names and to the end of w.names.
func (w *walk) name(at int, c *objectCheck, last int, names *nameSet) (*member, int) {
	if at >= len(w.text) || w.text[at] != '"' {
		return nil, unknown
	}
	end, escaped := scanString(w.text, at)
	if end < 0 || end >= len(w.text) || w.text[end] != ':' {
		return nil, unknown
	}
	s := span{at, end}.inner()
	if escaped {
		s = w.unquote(s)
	}
	if index, ok := c.find(w.bytes(s)); ok {
		c.next[last].Store(int32(index))
		return &c.members[index], end + 1
	}
	if c.names != nil {
		if v := w.judge(at, end, c.names); v != yes {
			return nil, v
		}
	}
	names.add(w, s)
	return nil, end + 1
}

// find returns the index of the member with that name.
func (c *objectCheck) find(name []byte) (int, bool) {
	if len(c.known) > few {
		index, ok := c.index[string(name)]
		return index, ok
	}
	for i, known := range c.known {
		if known == string(name) {
			return i, true
		}
	}
	return 0, false
}

// otherMember reads the value of a member that is not known. Its name is the last in
// w.names.
func (w *walk) otherMember(at int, c *objectCheck) int {
	if len(c.patterns) == 0 {
		return w.value(at, c.other)
	}
	name := w.bytes(w.names[len(w.names)-1])
	end, found := 0, false
	for i := range c.patterns {
		p := &c.patterns[i]
		switch {
		case !p.pattern.match(name):
		case !found:
			found = true
			if end = w.value(at, p.place); end < 0 {
				return end
			}
		default:
			if v := w.judge(at, end, p.check); v != yes {
				return v
			}
		}
	}
	if !found {
		return w.value(at, c.other)
	}
	return end
}

// also returns end, if further checks accept the value that has been read.
func (w *walk) also(at, end int, checks []*check) int {
	for _, c := range checks {
		if v := w.judge(at, end, c); v != yes {
			return v
		}
	}
	return end
}

// complete tells what an object as a whole is worth. seen has the bits of its members.
func (w *walk) complete(at, end int, c *objectCheck, count int, seen []uint64) int {
	if c.min != -1 && count < c.min || c.max != -1 && count > c.max {
		return no
	}
	for i, required := range c.required {
		if seen[i]&required != required {
			return no
		}
	}
	has := func(index int) bool { return seen[index/64]>>(index%64)&1 != 0 }
	for _, d := range c.dependentRequired {
		for _, need := range d.needs {
			if has(d.member) && !has(need) {
				return no
			}
		}
	}
	for _, d := range c.dependent {
		if has(d.member) {
			if v := w.judge(at, end, d.check); v != yes {
				return v
			}
		}
	}
	return yes
}
