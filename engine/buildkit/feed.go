package buildkit

import (
	"context"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"lighter/api"
)

// feeds is the progress of builds, by the name that their clients gave them: Solve fills one, Status reads it,
// and either may come first.
type feeds struct {
	mu   sync.Mutex
	each map[string]*feed
	past []string      // those that have ended, the newest last
	came chan struct{} // closed, and another made, when a build begins
}

// keptFeeds is how many builds are told of after their end, to who asks after a short one only then.
const keptFeeds = 32

func newFeeds() *feeds { return &feeds{each: map[string]*feed{}, came: make(chan struct{})} }

// begin makes the feed of a build; false when one of that name is under way.
func (f *feeds) begin(ref string) (*feed, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.each[ref] != nil {
		return nil, false
	}
	one := &feed{more: make(chan struct{})}
	f.each[ref] = one
	close(f.came)
	f.came = make(chan struct{})
	return one, true
}

// end tells that nothing more comes.
func (f *feeds) end(ref string) {
	f.mu.Lock()
	one := f.each[ref]
	f.past = append(f.past, ref)
	if len(f.past) > keptFeeds {
		delete(f.each, f.past[0])
		f.past = f.past[1:]
	}
	f.mu.Unlock()
	one.mu.Lock()
	one.over = true
	close(one.more)
	one.mu.Unlock()
}

// of waits for a build to begin.
func (f *feeds) of(ctx context.Context, ref string) (*feed, error) {
	for {
		f.mu.Lock()
		one, came := f.each[ref], f.came
		f.mu.Unlock()
		if one != nil {
			return one, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// feed is all that a build told so far.
type feed struct {
	mu   sync.Mutex
	told []*controlapi.StatusResponse
	over bool
	more chan struct{} // closed when there is more, or no more
}

func (f *feed) tell(s *controlapi.StatusResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, s)
	close(f.more)
	f.more = make(chan struct{})
}

// after gives what was told beyond the first n, and when there is nothing, what to wait for: nil at the end.
func (f *feed) after(n int) ([]*controlapi.StatusResponse, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(f.told) > n:
		return f.told[n:], nil
	case f.over:
		return nil, nil
	}
	return nil, f.more
}

// follow sends all that a build tells until it ends.
func (f *feed) follow(ctx context.Context, send func(*controlapi.StatusResponse) error) error {
	for n := 0; ; {
		told, more := f.after(n)
		for _, s := range told {
			if err := send(s); err != nil {
				return err
			}
		}
		n += len(told)
		if len(told) > 0 {
			continue
		}
		if more == nil {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// statusOf puts our words for progress into BuildKit's.
func statusOf(s *api.BuildStatus) *controlapi.StatusResponse {
	out := &controlapi.StatusResponse{}
	for _, v := range s.Vertexes {
		out.Vertexes = append(out.Vertexes, &controlapi.Vertex{
			Digest: v.Digest, Inputs: v.Inputs, Name: v.Name, Cached: v.Cached, Error: v.Error,
			Started: stamp(v.Started), Completed: stamp(v.Completed),
		})
	}
	for _, v := range s.Statuses {
		out.Statuses = append(out.Statuses, &controlapi.VertexStatus{
			ID: v.ID, Vertex: v.Vertex, Name: v.Name, Current: v.Current, Total: v.Total,
			Timestamp: timestamppb.New(v.Timestamp), Started: stamp(v.Started), Completed: stamp(v.Completed),
		})
	}
	for _, l := range s.Logs {
		out.Logs = append(out.Logs, &controlapi.VertexLog{
			Vertex: l.Vertex, Timestamp: timestamppb.New(l.Timestamp), Stream: int64(l.Stream), Msg: l.Data,
		})
	}
	for _, w := range s.Warnings {
		warning := &controlapi.VertexWarning{Vertex: w.Vertex, Level: int64(w.Level), Short: w.Short, Detail: w.Detail, Url: w.URL}
		if w.Source != nil {
			warning.Info = &pb.SourceInfo{Filename: w.Source.Filename, Data: w.Source.Data, Language: "Dockerfile"}
		}
		warning.Ranges = rangesOf(w.Range)
		out.Warnings = append(out.Warnings, warning)
	}
	return out
}

func rangesOf(lines []api.BuildLines) []*pb.Range {
	var out []*pb.Range
	for _, l := range lines {
		out = append(out, &pb.Range{Start: &pb.Position{Line: int32(l.Start)}, End: &pb.Position{Line: int32(l.End)}})
	}
	return out
}

func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
