package onepass

import (
	"slices"
	"strconv"
)

// anyToken stands for any member or element.
const anyToken = "*"

// A pointer is what is left of a place on the way to it.
type pointer struct {
	place  int
	tokens []string
}

// A node is where some places are, or where the ways to them lead on.
type node struct {
	here   []int            // the places that the value at the node is
	named  map[string]*node // by member name, or index in an array
	others *node            // for all other members and elements
}

// maxNodes bounds the nodes. Pointers with many wildcards could have more.
const maxNodes = 10_000

// newNode returns the node for pointers, or nil if there are none.
func newNode(ps []pointer, count *int) *node {
	if *count++; len(ps) == 0 || *count > maxNodes {
		return nil
	}
	n := &node{named: map[string]*node{}}
	for _, p := range ps {
		switch {
		case len(p.tokens) == 0:
			n.here = append(n.here, p.place)
		case p.tokens[0] != anyToken && n.named[p.tokens[0]] == nil:
			n.named[p.tokens[0]] = newNode(descend(ps, p.tokens[0]), count)
		}
	}
	slices.Sort(n.here)
	n.others = newNode(descend(ps, anyToken), count)
	return n
}

// descend returns the pointers that lead through token, without that token.
func descend(ps []pointer, token string) (out []pointer) {
	for _, p := range ps {
		if len(p.tokens) > 0 && (p.tokens[0] == token || p.tokens[0] == anyToken) {
			out = append(out, pointer{p.place, p.tokens[1:]})
		}
	}
	return out
}

// marks returns the places that the value at n is.
func (n *node) marks() []int {
	if n == nil {
		return nil
	}
	return n.here
}

// child returns the node of a member or element.
func (n *node) child(token string) *node {
	if n == nil {
		return nil
	}
	if c := n.named[token]; c != nil {
		return c
	}
	return n.others
}

// rest returns the node of the members and elements that have none by name.
func (n *node) rest() *node {
	if n == nil {
		return nil
	}
	return n.others
}

// names returns the tokens that a node tells apart.
func (n *node) names() map[string]*node {
	if n == nil {
		return nil
	}
	return n.named
}

// elementIndex returns the index of the element that a token names.
func elementIndex(token string) (int, bool) {
	i, err := strconv.Atoi(token)
	return i, err == nil && i >= 0 && strconv.Itoa(i) == token
}
