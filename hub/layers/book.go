package layers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"lighter/hub/meta"
	"lighter/page"
)

// Source opens the blob of a digest. It answers only for what the hub keeps.
type Source func(ctx context.Context, digest string) (io.ReadCloser, error)

// Book keeps what is known about layers in the tables of 0003_web.sql: each layer is read
// once, and each stack of layers laid once, by a few goroutines in turn, whoever asks. Its
// owner runs Run, without which nothing is read.
type Book struct {
	db     *meta.DB
	open   Source
	limits Limits
	log    *slog.Logger

	queue chan *job
	mu    sync.Mutex
	jobs  map[string]*job // queued, under way, or failed a moment ago
	pairs []pair          // the last comparisons, newest last
}

const (
	workers  = 2
	maxQueue = 64
	maxPairs = 16
	headSize = 12 // changes that a summary shows
	// A failure that is not the layer's own fault is tried again after this long.
	retryAfter = 30 * time.Second
	sweepEvery = 6 * time.Hour
)

// job is something to find out. Its result is in the tables, or in err.
type job struct {
	key  string
	do   func(ctx context.Context) error
	done chan struct{}
	err  error // once done
	over time.Time
}

// ErrBusy says that too much is being read already.
var ErrBusy = errors.New("the hub is reading many other layers at the moment")

// NewBook gives a book over db; open reads the layers. log hears of what could not be read.
func NewBook(db *meta.DB, open Source, limits Limits, log *slog.Logger) *Book {
	return &Book{db: db, open: open, limits: limits, log: log, queue: make(chan *job, maxQueue), jobs: map[string]*job{}}
}

// Run reads what is asked for until ctx ends, and returns when nothing is under way.
func (b *Book) Run(ctx context.Context) {
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case j := <-b.queue:
					b.run(ctx, j)
				}
			}
		})
	}
	all.Go(func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := b.Sweep(ctx); err != nil && ctx.Err() == nil {
				b.log.Warn("forget the layers that are gone", "error", err)
			}
		}
	})
	all.Wait()
}

func (b *Book) run(ctx context.Context, j *job) {
	err := j.do(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if j.err, j.over = err, time.Now(); err == nil {
		delete(b.jobs, j.key)
	} else if ctx.Err() == nil {
		b.log.Warn("read the layers of an image", "error", err)
	}
	close(j.done)
}

// ask has do done under key, unless it is already being done, and waits for it at most
// as long as wait. done is false when it takes longer.
func (b *Book) ask(ctx context.Context, key string, wait time.Duration, do func(context.Context) error) (done bool, err error) {
	b.mu.Lock()
	for k, old := range b.jobs { // failures that are to be tried again
		if !old.over.IsZero() && time.Since(old.over) > retryAfter {
			delete(b.jobs, k)
		}
	}
	j := b.jobs[key]
	if j == nil {
		j = &job{key: key, do: do, done: make(chan struct{})}
		select {
		case b.queue <- j:
			b.jobs[key] = j
		default:
			b.mu.Unlock()
			return false, ErrBusy
		}
	}
	b.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-j.done:
		return true, j.err
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// Chain names a stack of layers, lowest first.
func Chain(digests []string) string {
	sum := sha256.Sum256([]byte(strings.Join(digests, " ")))
	return hex.EncodeToString(sum[:])
}

// Summaries gives what each layer of a stack did, lowest first. What is not known yet is
// read meanwhile; done is false, and its summaries nil, when that takes longer than wait.
func (b *Book) Summaries(ctx context.Context, digests []string, wait time.Duration) (list []*Summary, done bool, err error) {
	list, missing, err := b.known(ctx, digests)
	if err != nil || !missing {
		return list, true, err
	}
	done, err = b.ask(ctx, Chain(digests), wait, func(ctx context.Context) error { return b.learn(ctx, digests) })
	if err != nil || !done {
		return list, done, err
	}
	list, _, err = b.known(ctx, digests)
	return list, true, err
}

// known gives the summaries that are kept.
func (b *Book) known(ctx context.Context, digests []string) (list []*Summary, missing bool, err error) {
	list = make([]*Summary, len(digests))
	for i := range digests {
		s, head := &Summary{}, ""
		err := b.db.QueryRow(ctx, `SELECT added, changed, removed, bytes, cut, problem, head FROM layer_changes WHERE chain = ?`,
			Chain(digests[:i+1])).Scan(&s.Added, &s.Changed, &s.Removed, &s.Bytes, &s.Cut, &s.Err, &head)
		if errors.Is(err, meta.ErrNotFound) {
			missing = true
			continue
		}
		if err == nil {
			err = json.Unmarshal([]byte(head), &s.Head)
		}
		if err != nil {
			return nil, false, fmt.Errorf("what is known about a layer: %w", err)
		}
		list[i] = s
	}
	return list, missing, nil
}

// Changes gives all that the topmost layer of a stack did, by path, once Summaries has
// told that it is known.
func (b *Book) Changes(ctx context.Context, digests []string) ([]Change, error) {
	var list string
	err := b.db.QueryRow(ctx, `SELECT list FROM layer_changes WHERE chain = ?`, Chain(digests)).Scan(&list)
	if err != nil {
		return nil, fmt.Errorf("what is known about a layer: %w", err)
	}
	return decodeChanges(list)
}

// learn lays the layers of a stack on each other and keeps what each did. A damaged layer
// is told as such and counts as empty: those above it are then told in its words, too.
func (b *Book) learn(ctx context.Context, digests []string) error {
	tree, problem := NewTree(b.limits.Files), ""
	for i, digest := range digests {
		idx, bad, err := b.index(ctx, digest)
		if err != nil {
			return err
		}
		changes, cut := tree.Lay(idx)
		s := summary(changes)
		if s.Cut = cut; cut == "" && problem != "" {
			s.Cut = "a layer below could not be read"
		}
		s.Err = bad
		if bad != "" {
			problem = bad
		}
		if err := b.keep(ctx, digests[:i+1], s, changes); err != nil {
			return err
		}
	}
	return nil
}

func summary(changes []Change) *Summary {
	s := &Summary{}
	for _, c := range changes {
		n := 1
		if c.Kind == Folder {
			n = c.Files
		}
		switch c.Op {
		case Added:
			s.Added += n
			s.Bytes += c.Size
		case Changed:
			s.Changed += n
			s.Bytes += c.Size
		case Removed:
			s.Removed += n
		}
		if c.Kind != Folder || c.Op == Removed {
			if len(s.Head) < headSize {
				s.Head = append(s.Head, c)
			}
		}
	}
	return s
}

func (b *Book) keep(ctx context.Context, stack []string, s *Summary, changes []Change) error {
	list, err := encodeChanges(changes)
	if err != nil {
		return err
	}
	head, err := json.Marshal(s.Head)
	if err != nil {
		return err
	}
	_, err = b.db.Exec(ctx, `INSERT INTO layer_changes (chain, top, added, changed, removed, bytes, cut, problem, head, list)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (chain) DO NOTHING`,
		Chain(stack), stack[len(stack)-1], s.Added, s.Changed, s.Removed, s.Bytes, s.Cut, s.Err, string(head), list)
	if err != nil {
		return fmt.Errorf("keep what a layer changed: %w", err)
	}
	return nil
}

// index gives what a layer holds, from the table or by reading it. bad says, for people,
// why its own bytes cannot be read.
func (b *Book) index(ctx context.Context, digest string) (idx *Index, bad string, err error) {
	var files, problem string
	err = b.db.QueryRow(ctx, `SELECT files, problem FROM layer_files WHERE digest = ?`, digest).Scan(&files, &problem)
	if err == nil {
		idx, err = decodeIndex(files)
		return idx, problem, err
	}
	if !errors.Is(err, meta.ErrNotFound) {
		return nil, "", err
	}
	r, err := b.open(ctx, digest)
	if err != nil {
		return nil, "", fmt.Errorf("open layer %s: %w", digest, err)
	}
	defer r.Close()
	idx, err = Read(ctx, r, b.limits)
	switch {
	case errors.Is(err, ErrLayer):
		idx, bad = &Index{}, page.Shown(cutShort(err.Error()))
	case err != nil:
		return nil, "", fmt.Errorf("read layer %s: %w", digest, err)
	}
	_, err = b.db.Exec(ctx, `INSERT INTO layer_files (digest, files, problem) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING`,
		digest, idx.encode(), bad)
	return idx, bad, err
}

func cutShort(s string) string {
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// Sweep forgets the layers that the hub no longer keeps.
func (b *Book) Sweep(ctx context.Context) error {
	for _, q := range []string{
		`DELETE FROM layer_files WHERE digest NOT IN (SELECT digest FROM blobs)`,
		`DELETE FROM layer_changes WHERE top NOT IN (SELECT digest FROM blobs)`,
	} {
		if _, err := b.db.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}
