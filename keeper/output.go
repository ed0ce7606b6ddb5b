package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"lighter/linux/proc"
	"lighter/store/logfile"
	"lighter/task"
)

// rawConn is syscall.RawConn, which only the kernel's floor may name.
type rawConn interface {
	Control(f func(fd uintptr)) error
	Read(f func(fd uintptr) (done bool)) error
	Write(f func(fd uintptr) (done bool)) error
}

var streamNames = [2]string{logfile.Stdout, logfile.Stderr}

// output is what a process prints, on its way to the log and to the clients. With a
// log it goes through the journal; without one, nobody but the clients wants it.
type output struct {
	mu      sync.Mutex
	sources []*source // stdout or the terminal, stderr
	clients []*client
	ended   bool // clients that come now find nothing more

	// With a log only. What is moved into the journal is moved under mu; what goes from
	// there into the log does so under logMu.
	journal *journal
	transit *os.File
	slim    *time.Timer
	moved   bool // since slim was last looked at

	logMu   sync.Mutex
	log     *logfile.Writer
	format  *logfile.Format
	last    int64         // time of the last record of the batch that was begun last
	writing chan struct{} // closed when the batch that was begun last is written
	lost    int           // bytes that the log did not take, since it last took some
	hold    *hold         // nil for a log that is rotated whoever has read it
}

// source is one stream of an output.
type source struct {
	out   *output
	index int
	file  *os.File
	raw   rawConn
	wide  bool // its pipe was made larger
	err   error
}

func (o *output) add(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	o.sources = append(o.sources, &source{out: o, index: len(o.sources), file: file, raw: raw})
	return nil
}

// logOptions says where and how a log is written; nil when there is none.
func logOptions(l task.Log) *logfile.Options {
	if l.Driver == "none" || l.Driver == "" {
		return nil
	}
	return &logfile.Options{Path: l.Path, MaxSize: l.MaxSize, MaxFiles: l.MaxFiles, Compress: l.Compress, Attrs: l.Attrs}
}

// openLog makes what an output with a log needs.
func (o *output) openLog(ctx context.Context, l task.Log, streams int) error {
	opts := logOptions(l)
	if opts == nil {
		return nil
	}
	if err := logfile.Known(l.Driver); err != nil {
		return err
	}
	w, err := logfile.Open(*opts)
	if err != nil {
		return err
	}
	o.log = w
	if o.hold = newHold(ctx, l); o.hold != nil {
		if o.last, err = logfile.Newest(ctx, l.Path); err != nil {
			return err
		}
	}
	if o.format, err = logfile.NewFormat(l.Attrs); err != nil {
		return err
	}
	if o.transit, err = proc.Transit(); err != nil {
		return err
	}
	o.journal, err = newJournal(streams, w.Position())
	return err
}

// resumeLog goes on with a log where a keeper died.
func (o *output) resumeLog(ctx context.Context, l task.Log, streams int, transit, mem *os.File) error {
	o.transit = transit
	j, err := openJournal(mem, streams)
	if err != nil {
		return err
	}
	o.journal = j
	if o.log, err = logfile.Resume(*logOptions(l), j.state().log); err != nil {
		return err
	}
	if o.format, err = logfile.NewFormat(l.Attrs); err != nil {
		return err
	}
	if err := j.finish(transit); err != nil {
		return err
	}
	st := j.state()
	o.last = st.last
	if st.stream != 0 {
		stream := int(st.stream - 1)
		data := j.bytes(stream, st.start[stream], st.start[stream]+uint64(st.used))
		records, _, n := o.format.Append(nil, data, streamNames[stream], st.time, true, 1<<30)
		o.last = st.time + int64(n) - 1
		o.put(records, o.last)
	}
	if err := o.log.Trim(); err != nil {
		return err
	}
	for s := range streams {
		o.write(s, false, false)
	}
	o.hold = newHold(ctx, l) // not before: nobody waits while a keeper takes over
	return nil
}

// close gives back what a log needs, once. Sources are closed by who made them.
func (o *output) close() error {
	o.logMu.Lock()
	defer o.logMu.Unlock()
	o.await()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.slim != nil {
		o.slim.Stop()
	}
	if o.journal != nil {
		o.journal.close()
		o.journal = nil
	}
	if o.transit != nil {
		o.transit.Close()
		o.transit = nil
	}
	if w := o.log; w != nil {
		o.log = nil
		return w.Close()
	}
	return nil
}

// pump moves a source's bytes until it ends or its read deadline passes.
func (s *source) pump() {
	for {
		ended := false
		err := s.raw.Read(func(fd uintptr) bool {
			switch err := s.step(fd); {
			case errors.Is(err, proc.ErrAgain):
				return false
			case err != nil:
				ended = true
				if !errors.Is(err, proc.ErrEnded) {
					s.err = err
				}
			}
			return true
		})
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			s.err = err
		}
		if ended || err != nil {
			break
		}
	}
	if s.out.journal != nil {
		s.out.write(s.index, true, false)
	}
}

// step takes what there is, once.
func (s *source) step(fd uintptr) error {
	o := s.out
	if o.journal == nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		buf := bufs.Get().(*[]byte)
		defer bufs.Put(buf)
		n, err := proc.Read(fd, *buf)
		if err == nil {
			o.feed(s.index, (*buf)[:n])
		}
		return err
	}
	n, err := o.move(s.index, fd)
	if err != nil {
		return err
	}
	if n >= pipeful && !s.wide {
		// It prints faster than we move: fewer and larger moves cost half as much. A pipe
		// that may not grow is left as it is.
		s.wide = true
		proc.Widen(fd, wide)
		proc.Widen(o.transit.Fd(), moveMax)
	}
	o.write(s.index, false, n >= busy)
	return nil
}

// move brings what there is into the journal, and to the clients.
func (o *output) move(stream int, fd uintptr) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	data, err := o.journal.move(stream, fd, o.transit)
	if err != nil {
		return 0, err
	}
	o.feed(stream, data)
	o.keepSlim()
	return len(data), nil
}

// bufs are buffers of a move's worth.
var bufs = sync.Pool{New: func() any { b := make([]byte, moveMax); return &b }}

const (
	batch   = 512 << 10 // bytes of records that are written at once
	busy    = 32 << 10  // so many bytes at once, and more are coming
	pipeful = 64 << 10  // what a pipe holds that was never widened
	wide    = 1 << 20   // what it holds then: who prints goes on while we move
)

var batches = sync.Pool{New: func() any { b := make([]byte, 0, batch+8*logfile.MaxLine); return &b }}

// write brings the whole lines of a stream that are in the journal into the log; with
// end, the unfinished last one, too. When the process is busy, it does not wait until
// the last batch is written: the next one is moved and made meanwhile.
func (o *output) write(stream int, end, busy bool) {
	o.logMu.Lock()
	defer o.logMu.Unlock()
	for {
		data := o.journal.fresh(stream)
		if len(data) == 0 {
			break
		}
		buf := batches.Get().(*[]byte)
		t := stamp(o.last, o.hold != nil)
		records, used, n := o.format.Append((*buf)[:0], data, streamNames[stream], t, end, o.limit())
		if used == 0 {
			batches.Put(buf)
			break
		}
		o.await()
		o.log.Settle()
		o.last = t + int64(n) - 1
		o.journal.begin(stream, used, t, o.log.Position())
		*buf = records
		o.writing = make(chan struct{})
		if busy {
			go o.flush(buf, o.last, o.writing)
		} else {
			o.flush(buf, o.last, o.writing)
		}
	}
	if !busy {
		o.await()
	}
}

// await waits until the batch that was begun last is written.
func (o *output) await() {
	if o.writing != nil {
		<-o.writing
		o.writing = nil
	}
}

// flush writes the batch that the journal names.
func (o *output) flush(buf *[]byte, last int64, written chan<- struct{}) {
	o.put(*buf, last)
	batches.Put(buf)
	close(written)
}

// limit is how many bytes of records the next batch may have. A file that is full is
// rotated first.
func (o *output) limit() int {
	// What is being written is not longer than a batch and what one line adds to it.
	if room := o.log.Room(); room < 0 || room > 3*batch {
		return batch
	}
	o.await()
	if o.log.Room() == 0 && o.hold.spent(o.log, o.last) {
		if err := o.log.Rotate(); err != nil {
			complain("rotate", err)
		}
		pos := o.log.Position()
		o.journal.change(func(st *journalState) { st.log = pos })
	}
	if room := o.log.Room(); room > 0 {
		return int(min(room, batch))
	}
	return batch
}

// put writes the batch that the journal names. A log that cannot be written (a full
// disk) loses lines: a container that waits for the disk would be the worse fault.
func (o *output) put(records []byte, last int64) {
	if err := o.log.Write(records); err != nil {
		if o.lost == 0 {
			complain("lines are lost", err)
		}
		o.lost += len(records)
	} else if o.lost > 0 {
		complain("lines are written again", fmt.Errorf("%d bytes were lost", o.lost))
		o.lost = 0
	}
	o.journal.done(o.log.Position(), last)
}

// stamp is the time of a batch's first record: now, and later than the record
// before, so that a record's time finds it again. A clock that was set back is
// followed, but in a log with a mark, which is a time.
func stamp(last int64, marked bool) int64 {
	now := time.Now().UnixNano()
	if now <= last && (marked || last-now < int64(time.Second)) {
		return last + 1
	}
	return now
}

// complain tells the operator, by the keeper's own log.
func complain(what string, err error) {
	fmt.Fprintf(os.Stderr, "%s lighter keeper: %s: %v\n", time.Now().UTC().Format(time.RFC3339), what, err)
}

// slimTime is how long a process must have printed nothing until its journal's
// memory is given back.
const slimTime = 5 * time.Second

func (o *output) keepSlim() {
	o.moved = true
	if o.slim == nil {
		o.slim = time.AfterFunc(slimTime, o.getSlim)
	}
}

func (o *output) getSlim() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.journal == nil {
		return
	}
	if o.moved {
		o.moved = false
		o.slim.Reset(slimTime)
		return
	}
	o.slim = nil
	for i := range o.sources {
		o.journal.shrink(i)
	}
}
