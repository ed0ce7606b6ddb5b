package layers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// pair is a comparison that was made.
type pair struct {
	key     string
	changes []Change
	cut     string
}

// Compare gives what is to be done to the files of the image whose layers are from, to
// get those of to. done is false when finding it out takes longer than wait. The last
// few answers are kept in memory: anybody may ask for any two.
func (b *Book) Compare(ctx context.Context, from, to []string, wait time.Duration) (changes []Change, cut string, done bool, err error) {
	key := Chain(from) + " " + Chain(to)
	if p, ok := b.pair(key); ok {
		return p.changes, p.cut, true, nil
	}
	done, err = b.ask(ctx, key, wait, func(ctx context.Context) error { return b.compare(ctx, key, from, to) })
	if err != nil || !done {
		return nil, "", done, err
	}
	p, ok := b.pair(key)
	if !ok {
		return nil, "", false, ErrBusy // sixteen others have asked in the meantime
	}
	return p.changes, p.cut, true, nil
}

func (b *Book) pair(key string) (pair, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.pairs, func(p pair) bool { return p.key == key })
	if i < 0 {
		return pair{}, false
	}
	p := b.pairs[i]
	b.pairs = append(slices.Delete(b.pairs, i, i+1), p)
	return p, true
}

func (b *Book) compare(ctx context.Context, key string, from, to []string) error {
	p := pair{key: key}
	one, cut, err := b.whole(ctx, from)
	if err != nil {
		return err
	}
	other, cut2, err := b.whole(ctx, to)
	if err != nil {
		return err
	}
	p.changes, p.cut = Diff(one, other), cut
	if cut == "" {
		p.cut = cut2
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pairs = append(b.pairs, p); len(b.pairs) > maxPairs {
		b.pairs = slices.Delete(b.pairs, 0, 1)
	}
	return nil
}

// whole gives the files of an image.
func (b *Book) whole(ctx context.Context, digests []string) (tree *Tree, cut string, err error) {
	tree = NewTree(b.limits.Files)
	for _, digest := range digests {
		idx, bad, err := b.index(ctx, digest)
		if err != nil {
			return nil, "", errors.Join(errors.New("compare two images"), err)
		}
		if bad != "" {
			cut = "a layer could not be read"
		}
		if _, why := tree.Lay(idx); why != "" {
			cut = why
		}
	}
	return tree, cut, nil
}

// Diff gives what is to be done to the files of from to get those of to, by path.
func Diff(from, to *Tree) []Change {
	var l laying
	l.diff("", &from.root, &to.root)
	slices.SortFunc(l.out, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return l.out
}

func (l *laying) diff(path string, from, to *node) {
	for name, kid := range to.kids {
		at := strings.TrimPrefix(path+"/"+name, "/")
		old := from.kids[name]
		kid.e.Path = at
		switch {
		case old == nil:
			l.tell(Entry{}, kid.e)
			l.diff(at, &node{}, kid)
			continue
		case old.e != kid.e:
			was := old.e
			if was.Path = at; was != kid.e {
				l.tell(was, kid.e)
			}
		}
		l.diff(at, old, kid)
	}
	for _, name := range slices.Sorted(maps.Keys(from.kids)) {
		if to.kids[name] != nil {
			continue
		}
		n := from.kids[name]
		c := Change{Op: Removed, Kind: n.e.Kind, Path: strings.TrimPrefix(path+"/"+name, "/"), Size: n.bytes()}
		if n.e.Kind == Folder {
			c.Files = n.count(false)
		}
		l.out = append(l.out, c.shown())
	}
}
