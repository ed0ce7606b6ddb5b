package tree

import (
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
)

// FuzzPatterns chooses a path by the lines of an ignore file.
func FuzzPatterns(f *testing.F) {
	for _, s := range []string{"node\n!node/m/keep", "**/*_test.go", "*", "!", "[a-", "a/**/b\\", "../x", "/a/", "**", "\\"} {
		f.Add(s, "src/a.go")
	}
	f.Fuzz(func(t *testing.T, lines, path string) {
		path = strings.Trim(path, "/")
		if path == "" || strings.Contains(path, "//") {
			return
		}
		list := strings.Split(lines, "\n")
		for _, list := range [][]string{list, {lines}} {
			for _, f := range []*filter{{include: list}, {exclude: list}} {
				m, err := f.compile()
				if err != nil {
					continue
				}
				for _, pm := range []*patternmatcher.PatternMatcher{m.inc, m.exc} {
					if pm == nil {
						continue
					}
					if _, err := pm.MatchesOrParentMatches(path); err != nil {
						t.Logf("%q, %q: %v", list, path, err)
					}
				}
			}
		}
	})
}
