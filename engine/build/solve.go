package build

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lighter/api"
)

// visit is a vertex that the job needs: under way, or done.
type visit struct {
	done   chan struct{} // closed when out or err is set
	out    []outcome
	err    error
	key    *key // once it is known; nil when it is never cached
	cached bool
}

// solve gives an outcome, once all that it stands on is there. A vertex is run once in a job.
func (j *job) solve(ctx context.Context, e edge) (outcome, error) {
	if e.from == nil {
		return outcome{}, nil
	}
	v := j.visit(e.from)
	select {
	case <-v.done:
	case <-ctx.Done():
		return outcome{}, context.Cause(ctx)
	}
	switch {
	case v.err != nil:
		return outcome{}, v.err
	case e.index >= len(v.out):
		return outcome{}, api.Errorf(api.Invalid, "%s has no outcome %d", e.from, e.index)
	}
	return v.out[e.index], nil
}

// visit begins with a vertex, unless that has been done.
func (j *job) visit(v *vertex) *visit {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.visits[v]
	if s == nil {
		s = &visit{done: make(chan struct{})}
		j.visits[v] = s
		j.workers.Go(func() {
			defer close(s.done)
			if s.err = j.reach(j.ctx, v, s); s.err != nil {
				var known *stepError
				if !errors.As(s.err, &known) {
					s.err = &stepError{v, s.err}
				}
				j.cancel(s.err) // nothing else is of use now
			}
		})
	}
	return s
}

// reach solves what a vertex stands on, all at once, and then the vertex.
func (j *job) reach(ctx context.Context, v *vertex, s *visit) (err error) {
	for _, e := range v.inputs {
		j.visit(e.from)
	}
	in := make([]outcome, len(v.inputs))
	for n, e := range v.inputs {
		if in[n], err = j.solve(ctx, e); err != nil {
			return err
		}
	}
	if s.key, err = v.do.key(ctx, j, in); err != nil {
		return j.failed(v, err)
	}
	if s.key == nil {
		s.out, err = j.run(ctx, v, in, nil)
		return err
	}
	if err := (dater{j}).bounded(s.key, in); err != nil {
		return j.failed(v, err)
	}
	s.out, s.cached, err = j.once(ctx, v, s.key, in)
	return err
}

// once gives what a key stands for: from the cache, from whoever makes it at this moment, or by making it.
func (j *job) once(ctx context.Context, v *vertex, k *key, in []outcome) (out []outcome, cached bool, err error) {
	digest := k.digest()
	for {
		if !v.noCache {
			if out := j.recall(digest); out != nil {
				j.found(v)
				return out, true, nil
			}
		}
		f, mine := j.b.flights.join(digest)
		if !mine {
			if err := f.wait(ctx); err != nil {
				return nil, false, err
			}
			// It is in the cache now, or the other one has failed and we try. Without the
			// cache, what has been made while we were here is as good as what we would make.
			if out := f.out; f.err == nil {
				if j.take(out) {
					j.found(v)
					return out, true, nil
				}
			}
			continue
		}
		if !v.noCache {
			if out := (importer{j}).imported(ctx, v, k, digest); out != nil {
				j.found(v)
				j.b.flights.land(digest, f, out, nil)
				return out, true, nil
			}
		}
		out, err = j.run(ctx, v, in, k)
		if err == nil {
			j.keep(v, k, digest, out)
		}
		j.b.flights.land(digest, f, out, err)
		return out, false, err
	}
}

// run makes the outcomes of a vertex and tells of it.
func (j *job) run(ctx context.Context, v *vertex, in []outcome, k *key) (out []outcome, err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if k != nil && j.request.Explain {
		v.missed = j.b.cache.explain(v.name, k, v.noCache)
	}
	quick, ok := v.do.(interface{ instant(j *job) bool })
	var begun time.Time
	if !ok {
		begun = j.begin(v)
	}
	const tries = 3 // that another build lets go of the very layers between their making and our hold is rare
	for range tries {
		out, err = v.do.run(ctx, j, v, in)
		if err != nil {
			break
		}
		if j.take(out) {
			break
		}
		err = fmt.Errorf("what %s gave is gone again", v)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if ok && err == nil && quick.instant(j) {
		j.found(v)
		return out, nil
	}
	if ok {
		begun = j.begin(v)
	}
	j.end(v, begun, err)
	if err != nil {
		return nil, &stepError{v, err}
	}
	j.note(out)
	return out, nil
}

// take holds outcomes, and tells whether they are there.
func (j *job) take(out []outcome) bool {
	for _, o := range out {
		if o.top == "" {
			continue
		}
		j.hold(o.top)
		if _, err := j.b.Layers.Get(o.top); err != nil {
			return false
		}
	}
	return true
}

// note remembers what is to be made durable at the end.
func (j *job) note(out []outcome) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range out {
		if o.top != "" {
			j.tops = append(j.tops, o.top)
		}
	}
}

// recall looks for a key in the cache, and holds what it finds.
func (j *job) recall(digest string) []outcome {
	r := j.b.cache.lookup(digest, j.b.now())
	if r == nil {
		return nil
	}
	j.later(func() { j.b.cache.done(r) })
	out := make([]outcome, len(r.Tops))
	for n, top := range r.Tops {
		out[n] = outcome{top: top}
	}
	if !j.take(out) {
		return nil // pruned in this moment
	}
	return out
}

// keep puts what was made into the cache: at once in memory, and on disk when it is durable.
func (j *job) keep(v *vertex, k *key, digest string, out []outcome) {
	tops := make([]string, len(out))
	for n, o := range out {
		if o.tree != nil {
			return
		}
		tops[n] = o.top
	}
	j.enter(&record{Key: digest, Parts: k.parts, Tops: tops, Created: j.b.now(), Used: j.b.now(), Says: v.name, Kind: kindOf(v.op)})
}

// enter puts a record into the cache, which the job uses until it ends.
func (j *job) enter(r *record) {
	r.users = 1
	j.b.cache.put(r)
	j.later(func() { j.b.cache.done(r) })
	j.mu.Lock()
	j.made, j.fresh = append(j.made, r), true
	j.mu.Unlock()
}

// failed tells of a vertex that could not even begin.
func (j *job) failed(v *vertex, err error) error {
	if cause := context.Cause(j.ctx); cause != nil {
		err = cause
	}
	j.end(v, j.begin(v), err)
	var missing *missingError
	if errors.As(err, &missing) {
		err = fmt.Errorf("failed to compute cache key: %w", err)
	}
	return &stepError{v, err}
}

// now is the time by the builder's clock.
func (b *Builder) now() time.Time {
	if b.Clock != nil {
		return b.Clock().UTC()
	}
	return time.Now().UTC()
}
