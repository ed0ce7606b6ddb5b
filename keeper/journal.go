package keeper

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"lighter/linux/proc"
	"lighter/store/logfile"
)

// journal is where a process's output is while it is on its way from the pipe to the
// log: memory that the engine (or the standby) holds a descriptor of, so that it
// outlives the keeper. A byte is always in exactly one place that somebody can find:
//
//	pipe --splice--> transit --read--> buffer --write--> log
//	(1)              (2)               (3)               (4)
//
//	1→2  mover names the stream first; the kernel moves the pages in one piece.
//	2→3  moving says how much was in transit. Only the keeper fills the transit pipe,
//	     so what it still holds tells how much has arrived in the buffer.
//	3→4  the state names the batch: so many bytes, this time, from this offset of the
//	     log. A batch that was begun is written again at the same place; records are
//	     made of bytes and time alone, so it is the same records.
//
// The state is kept twice; a change is made in the copy that is not in force, which
// one store then puts in force. Stores of a killed process are not lost, only those
// of a machine that loses power, which containers do not outlive.
type journal struct {
	file *os.File
	mem  []byte
	head *journalHead
}

const (
	journalMagic   = 0x6c69676a // "ligj"
	journalVersion = 1
	journalPage    = 4096
	streamSize     = 96 << 10 // of each stream's buffer: an unfinished line and a pipe's worth
	moveMax        = 64 << 10
)

type journalHead struct {
	magic, version uint32
	current        atomic.Uint32 // which of states is in force
	_              uint32
	states         [2]journalState
}

type journalState struct {
	log    logfile.Position
	last   int64     // time of the newest record, in Unix nanoseconds
	start  [2]uint32 // the bytes of a stream's buffer that are not in the log yet:
	end    [2]uint32 // buffer[start:end]
	stream uint32    // 1 + the stream whose batch is being written, 0 for none
	used   uint32    // bytes of that batch
	time   int64     // of its first record
	mover  uint32    // 1 + the stream whose bytes are in transit, 0 for none
	moving uint32    // how many they are; 0 while that is not known
}

func journalSize(streams int) int { return journalPage + streams*streamSize }

// newJournal makes the journal of a process with one stream or two.
func newJournal(streams int, pos logfile.Position) (*journal, error) {
	f, err := proc.Shared("lighter journal", journalSize(streams))
	if err != nil {
		return nil, err
	}
	j, err := mapJournal(f, streams)
	if err != nil {
		return nil, err
	}
	j.head.magic, j.head.version = journalMagic, journalVersion
	j.head.states[0].log = pos
	return j, nil
}

// openJournal maps the journal of a process that another keeper had.
func openJournal(f *os.File, streams int) (*journal, error) {
	j, err := mapJournal(f, streams)
	if err != nil {
		return nil, err
	}
	if j.head.magic != journalMagic || j.head.version != journalVersion || !j.sane(streams) {
		j.close()
		return nil, errors.New("the journal is not one that this keeper can read")
	}
	return j, nil
}

func mapJournal(f *os.File, streams int) (*journal, error) {
	mem, err := proc.Map(f, journalSize(streams))
	if err != nil {
		f.Close()
		return nil, err
	}
	return &journal{file: f, mem: mem, head: (*journalHead)(unsafe.Pointer(&mem[0]))}, nil
}

func (j *journal) sane(streams int) bool {
	if j.head.current.Load() > 1 || j.state().mover > uint32(streams) {
		return false
	}
	st := j.state()
	for s := range streams {
		if st.start[s] > st.end[s] || st.end[s] > streamSize {
			return false
		}
	}
	return st.stream == 0 || st.stream <= uint32(streams) && st.start[st.stream-1]+st.used <= st.end[st.stream-1]
}

func (j *journal) close() {
	proc.Unmap(j.mem)
	j.mem, j.head = nil, nil
	j.file.Close()
}

// state is the state in force. It must not be changed in place.
func (j *journal) state() *journalState { return &j.head.states[j.head.current.Load()] }

// change puts a changed state in force.
func (j *journal) change(f func(*journalState)) {
	now := j.head.current.Load()
	next := &j.head.states[1-now]
	*next = j.head.states[now]
	f(next)
	j.head.current.Store(1 - now)
}

func (j *journal) buffer(stream int) []byte {
	at := journalPage + stream*streamSize
	return j.mem[at : at+streamSize]
}

// unlogged is what a stream's buffer holds that is not in the log yet.
func (j *journal) unlogged(stream int) []byte {
	st := j.state()
	return j.buffer(stream)[st.start[stream]:st.end[stream]]
}

// space is the free end of a stream's buffer, at least moveMax bytes of it. What is
// still unlogged is an unfinished line, shorter than logfile.MaxLine, and is copied to
// the front as soon as that does not touch it where it is.
func (j *journal) space(stream int) []byte {
	st := j.state()
	start, end := st.start[stream], st.end[stream]
	if have := end - start; start > 0 && have <= start {
		b := j.buffer(stream)
		copy(b[:have], b[start:end])
		j.change(func(st *journalState) { st.start[stream], st.end[stream] = 0, have })
		end = have
	}
	return j.buffer(stream)[end:]
}

// shrink gives back the pages that a burst of output touched.
func (j *journal) shrink(stream int) {
	st := j.state()
	if st.start[stream] != st.end[stream] {
		return
	}
	j.change(func(st *journalState) { st.start[stream], st.end[stream] = 0, 0 })
	proc.Forget(j.buffer(stream)[journalPage:])
}

// move brings what a descriptor has through the transit pipe into the buffer, and
// returns it. Errors are those of proc.Splice.
func (j *journal) move(stream int, fd uintptr, transit *os.File) ([]byte, error) {
	room := j.space(stream)
	room = room[:min(len(room), moveMax)]
	j.change(func(st *journalState) { st.mover, st.moving = uint32(stream)+1, 0 })
	n, err := proc.Splice(fd, transit.Fd(), len(room))
	if err == nil {
		j.change(func(st *journalState) { st.moving = uint32(n) })
		err = readFull(transit, room[:n])
	}
	if errors.Is(err, proc.ErrNoWay) { // a kernel whose terminals cannot be spliced
		n, err = proc.Read(fd, room)
	}
	if err != nil {
		j.change(func(st *journalState) { st.mover = 0 })
		return nil, err
	}
	j.moved(stream, n)
	return room[:n], nil
}

func (j *journal) moved(stream, n int) {
	j.change(func(st *journalState) {
		st.end[stream] += uint32(n)
		st.mover = 0
	})
}

func readFull(f *os.File, b []byte) error {
	for len(b) > 0 {
		n, err := proc.Read(f.Fd(), b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// finish completes the move in which another keeper died.
func (j *journal) finish(transit *os.File) error {
	st := j.state()
	if st.mover == 0 {
		return nil
	}
	stream, n := int(st.mover-1), int(st.moving)
	left, err := proc.Pending(transit.Fd())
	if err != nil {
		return err
	}
	if n == 0 {
		n = left
	}
	room := j.buffer(stream)[st.end[stream]:]
	if left > n || n > len(room) {
		return fmt.Errorf("%d bytes in transit of %d", left, n)
	}
	if err := readFull(transit, room[n-left:n]); err != nil {
		return fmt.Errorf("bring the bytes in transit: %w", err)
	}
	j.moved(stream, n)
	return nil
}

// begin names the batch that is about to be written.
func (j *journal) begin(stream, used int, time int64) {
	j.change(func(st *journalState) { st.stream, st.used, st.time = uint32(stream)+1, uint32(used), time })
}

// done counts the batch as written: the log is right up to pos.
func (j *journal) done(pos logfile.Position, last int64) {
	j.change(func(st *journalState) {
		st.start[st.stream-1] += st.used
		st.stream, st.log, st.last = 0, pos, last
	})
}
