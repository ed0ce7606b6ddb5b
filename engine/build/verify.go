package build

import (
	"context"
	"fmt"
	"maps"

	"lighter/api"
)

// verify builds twice without the cache, and tells the first file that is not the same.
func (b *Builder) verify(ctx context.Context, a Ask, tell func(api.BuildMessage)) error {
	request := *a.Request
	request.Options = maps.Clone(request.Options)
	if request.Options == nil {
		request.Options = map[string]string{}
	}
	request.Options["no-cache"] = ""
	a.Request = &request
	first := b.newJob(ctx, a, tell)
	defer first.close()
	tell(api.BuildMessage{ID: first.id})
	out, err := first.build()
	if err == nil {
		out.Differ, err = b.again(ctx, a, first)
	}
	if err != nil {
		told, err := first.explainError(ctx, err)
		tell(api.BuildMessage{Error: told})
		return err
	}
	tell(api.BuildMessage{Result: out})
	return nil
}

// again builds once more what a job has built, and compares.
func (b *Builder) again(ctx context.Context, a Ask, first *job) (string, error) {
	t := first.chore("building once more, to compare")
	request := *a.Request
	request.Outputs = []api.BuildOutput{{Type: "cacheonly"}}
	a.Request, a.Client = &request, first.client
	second := b.newJob(ctx, a, func(api.BuildMessage) {})
	defer second.close()
	_, err := second.build()
	if err != nil {
		return "", t.end(fmt.Errorf("the second time it fails: %w", err))
	}
	for n, m := range first.results {
		if n >= len(second.results) {
			break
		}
		at, path, what, differ, err := b.Layers.Differ(m.top, second.results[n].top)
		if err != nil {
			return "", t.end(err)
		}
		if differ {
			_ = t.end(nil)
			return fmt.Sprintf("layer %d (%s): %s: %s differs", at+1, m.made(at), path, what), nil
		}
	}
	return "", t.end(nil)
}

// made tells which instruction made a layer.
func (m *made) made(layer int) string {
	for _, h := range historyOf(m.config) {
		if h.EmptyLayer {
			continue
		}
		if layer == 0 {
			return h.CreatedBy
		}
		layer--
	}
	return "?"
}
