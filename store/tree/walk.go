package tree

import (
	"errors"
	"fmt"
	"strings"
)

// maxLinks is how many links one path may lead through, as in BuildKit.
const maxLinks = 255

// errLinks says that a path leads through too many.
var errLinks = errors.New("too many links")

// walk goes down a path from a root, through links that stay beneath it; step looks at a name in
// what the path led to before, and gives something that is not there for one that nothing can be in. The last
// component is followed if follow says so.
func walk[P interface{ target() string }](root P, p string, follow bool, step func(at P, name string) (P, error)) (P, error) {
	stack := []P{root}
	links := 0
	for todo := p; todo != ""; {
		var name string
		name, todo, _ = strings.Cut(todo, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		next, err := step(stack[len(stack)-1], name)
		if err != nil {
			return next, err
		}
		link := next.target()
		if link == "" || !follow && strings.Trim(todo, "/") == "" {
			stack = append(stack, next)
			continue
		}
		if links++; links > maxLinks {
			return next, fmt.Errorf("%q: %w", "/"+p, errLinks)
		}
		if strings.HasPrefix(link, "/") {
			stack = stack[:1]
		}
		todo = link + "/" + todo
	}
	return stack[len(stack)-1], nil
}
