package tree

import (
	"fmt"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
)

// filter chooses paths by patterns. Its methods may be called from many goroutines.
type filter struct {
	include, exclude []string
	pool             sync.Pool // of *matcher: patternmatcher compiles patterns as it meets them
}

// matcher is a filter for one goroutine.
type matcher struct {
	inc, exc *patternmatcher.PatternMatcher // nil for none

	// Folders that no pattern begins with need not be looked into: what patterns that may
	// hold something begin with; nil when a pattern may hold anything.
	heads, exceptions []string
}

// matched is what is known of a folder, for what is in it.
type matched struct{ inc, exc patternmatcher.MatchInfo }

// newFilter gives nil when all is chosen.
func newFilter(include, exclude []string) (*filter, error) {
	if len(include) == 0 && len(exclude) == 0 {
		return nil, nil
	}
	f := &filter{include: include, exclude: exclude}
	m, err := f.compile()
	if err != nil {
		return nil, err
	}
	f.pool.Put(m)
	return f, nil
}

func (f *filter) compile() (m *matcher, err error) {
	m = &matcher{}
	if len(f.include) > 0 {
		if m.inc, err = patternmatcher.New(f.include); err != nil {
			return nil, fmt.Errorf("invalid includepatterns: %s: %w", f.include, err)
		}
		m.heads = heads(m.inc, false)
	}
	if len(f.exclude) > 0 {
		if m.exc, err = patternmatcher.New(f.exclude); err != nil {
			return nil, fmt.Errorf("invalid excludepatterns: %s: %w", f.exclude, err)
		}
		m.exceptions = heads(m.exc, true)
	}
	return m, nil
}

// heads gives what paths begin with that the patterns of a kind may match; nil when that
// cannot be told.
func heads(pm *patternmatcher.PatternMatcher, exceptions bool) []string {
	out := []string{}
	for _, p := range pm.Patterns() {
		if p.Exclusion() != exceptions {
			continue
		}
		head := strings.TrimSuffix(strings.TrimSuffix(p.String(), "/**"), "/*")
		if strings.ContainsAny(head, `*[]?^\`) {
			return nil
		}
		out = append(out, head+"/")
	}
	return out
}

// get lends a matcher; nil of a nil filter.
func (f *filter) get() *matcher {
	if f == nil {
		return nil
	}
	if m, ok := f.pool.Get().(*matcher); ok {
		return m
	}
	m, _ := f.compile() // it did once
	return m
}

func (f *filter) put(m *matcher) {
	if f != nil {
		f.pool.Put(m)
	}
}

// ask tells whether a path is chosen, and whether what lies in it may be. in is what
// ask told of the folder that it lies in.
func (m *matcher) ask(path string, in matched) (chosen, enter bool, out matched, err error) {
	if m == nil {
		return true, true, matched{}, nil
	}
	chosen, enter = true, true
	if m.inc != nil {
		if chosen, out.inc, err = m.inc.MatchesUsingParentResults(path, in.inc); err != nil {
			return false, false, out, fmt.Errorf("failed to match includepatterns: %w", err)
		}
		enter = chosen || begins(m.heads, path)
	}
	if m.exc != nil {
		no, info, err := m.exc.MatchesUsingParentResults(path, in.exc)
		if err != nil {
			return false, false, out, fmt.Errorf("failed to match excludepatterns: %w", err)
		}
		out.exc = info
		if no {
			chosen = false
			enter = enter && m.exc.Exclusions() && begins(m.exceptions, path)
		}
	}
	return chosen, enter, out, nil
}

// begins tells whether something in the folder path may begin as heads do.
func begins(heads []string, path string) bool {
	if heads == nil {
		return true
	}
	for _, h := range heads {
		if len(h) > len(path) && h[len(path)] == '/' && h[:len(path)] == path {
			return true
		}
	}
	return false
}
