package build

import (
	"fmt"
	"os"
	"sync"
	"time"

	"lighter/api"
)

// Bounds of what a step's output becomes of progress, of either stream, as in BuildKit.
const (
	maxLogSize  = 2 << 20   // bytes
	maxLogSpeed = 200 << 10 // bytes a second
	lastOutput  = 256 << 10 // bytes that are kept of what was left out, and shown when the step fails
)

// stepLogs is a step's output on its way to progress. The writers are the program's.
type stepLogs struct {
	job     *job
	vertex  string
	writers [2]*os.File
	readers [2]*os.File
	streams [2]logStream
	reading sync.WaitGroup
}

func newStepLogs(j *job, v *vertex) (*stepLogs, error) {
	l := &stepLogs{job: j, vertex: v.digest}
	for i := range l.writers {
		r, w, err := os.Pipe()
		if err != nil {
			for k := range i {
				l.writers[k].Close()
				l.readers[k].Close()
			}
			return nil, fmt.Errorf("a pipe for a step's output: %w", err)
		}
		l.readers[i], l.writers[i] = r, w
		l.streams[i] = logStream{begun: time.Now()}
	}
	for i := range l.readers {
		l.reading.Go(func() { l.read(i) })
	}
	return l, nil
}

// read takes what the program prints until nobody can print any more.
func (l *stepLogs) read(i int) {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.readers[i].Read(buf)
		if n > 0 {
			l.tell(i, l.streams[i].take(buf[:n], time.Now()))
		}
		if err != nil {
			return
		}
	}
}

func (l *stepLogs) tell(i int, text []byte) {
	if len(text) > 0 {
		l.job.tell(api.BuildStatus{Logs: []*api.VertexLog{{Vertex: l.vertex, Stream: i + 1, Data: text, Timestamp: l.job.now()}}})
	}
}

// leakTime is how long output is read after the program's end, should somebody who is none of its processes hold its pipes.
const leakTime = time.Second

// end waits until all that was printed has been told.
func (l *stepLogs) end() {
	for i := range l.writers {
		l.writers[i].Close()
		l.readers[i].SetReadDeadline(time.Now().Add(leakTime))
	}
	l.reading.Wait()
	for _, r := range l.readers {
		r.Close()
	}
}

// say tells what we have to say of a step.
func (l *stepLogs) say(text string) { l.tell(1, []byte(text)) }

// rest tells the end of what was left out: the step has failed, and there it may say why.
func (l *stepLogs) rest() {
	for i := range l.streams {
		l.tell(i, l.streams[i].tail)
		l.streams[i].tail = nil
	}
}

// logStream bounds one stream.
type logStream struct {
	begun    time.Time
	size     int
	clipping bool
	clipped  bool
	tail     []byte // the last of what was printed since something was left out
}

// take gives what is to be told of what was printed, a copy.
func (s *logStream) take(b []byte, now time.Time) []byte {
	limit, why := maxLogSize, "2MiB"
	// The bound grows with each second begun.
	if now := (int(now.Sub(s.begun)/time.Second) + 1) * maxLogSpeed; now < limit {
		limit, why = now, "200KiB/s"
	}
	room := max(0, min(len(b), limit-s.size))
	s.size += len(b)
	if room < len(b) {
		s.clipped = true
	}
	if s.clipped {
		s.tail = append(s.tail, b...)
		if len(s.tail) > 2*lastOutput {
			s.tail = append([]byte(nil), s.tail[len(s.tail)-lastOutput:]...)
		}
	}
	out := append([]byte(nil), b[:room]...)
	if room == len(b) {
		s.clipping = false
	} else if !s.clipping {
		s.clipping = true
		out = fmt.Appendf(out, "\n[output clipped, log limit %s reached]\n", why)
	}
	return out
}
