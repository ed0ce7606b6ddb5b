package build

import (
	"slices"
	"strings"
)

// explain says which input of a step is not as it was when something like it was made last.
func (c *cache) explain(says string, k *key, noCache bool) string {
	if noCache {
		return "the cache is not asked: no-cache"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var best *record
	var least []string
	for _, r := range c.records {
		changed := differ(r.Parts, k.parts)
		same := bare(r.Says) == bare(says)
		if len(changed) >= max(len(k.parts), len(r.Parts)) && !same {
			continue // it has nothing in common with it
		}
		if !same && !strings.EqualFold(verb(r.Says), verb(says)) {
			continue
		}
		if best == nil || len(changed) < len(least) || len(changed) == len(least) && r.Used.After(best.Used) {
			best, least = r, changed
		}
	}
	if best == nil {
		return "no step like it was ever run"
	}
	if len(least) == 0 {
		return "its layers are gone"
	}
	return "changed: " + strings.Join(least, ", ")
}

// differ names the parts that are not the same.
func differ(a, b []part) []string {
	var names []string
	for _, side := range [2][2][]part{{a, b}, {b, a}} {
		for _, p := range side[0] {
			if !slices.Contains(side[1], p) && !slices.Contains(names, p.Name) {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

// bare is a step's name without its place: "RUN make".
func bare(says string) string {
	if _, rest, ok := strings.Cut(says, "] "); ok && strings.HasPrefix(says, "[") {
		return rest
	}
	return says
}

// verb is a step's instruction.
func verb(says string) string {
	word, _, _ := strings.Cut(bare(says), " ")
	return word
}
