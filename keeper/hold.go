package keeper

import (
	"context"
	"sync"
	"time"

	"lighter/store/logfile"
	"lighter/task"
)

// hold makes an output wait rather than throw away a file of its log that was not read
// yet by whom the log's mark belongs to (task.Log.Mark). Its methods may be called on
// nil, which holds nothing.
type hold struct {
	ctx  context.Context // the keeper's
	mark string
	free chan struct{} // closed when the process has ended: what is left of it is written without rotation
	once sync.Once
}

// newHold gives nil for a log without mark.
func newHold(ctx context.Context, l task.Log) *hold {
	if l.Mark == "" {
		return nil
	}
	return &hold{ctx: ctx, mark: l.Mark, free: make(chan struct{})}
}

// holdLook is how often an output that waits looks at the mark.
const holdLook = 20 * time.Millisecond

// spent waits until the next rotation throws away nothing that is to be kept. It is false
// when that is not to be waited for any more.
func (h *hold) spent(w *logfile.Writer, last int64) bool {
	if h == nil {
		return true
	}
	var told bool
	for {
		ok, err := w.Spent(h.ctx, h.mark, last)
		if ok {
			return true
		}
		if err != nil && !told {
			told = true
			complain("look how far a log was read", err)
		}
		select {
		case <-h.free:
			return false
		case <-h.ctx.Done():
			return false
		case <-time.After(holdLook):
		}
	}
}

// end lets the output wait no more.
func (h *hold) end() {
	if h != nil {
		h.once.Do(func() { close(h.free) })
	}
}
