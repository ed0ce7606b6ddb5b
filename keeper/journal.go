package keeper

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"lighter/linux/proc"
	"lighter/store/logfile"
)

// journal is where a process's output is while it is on its way from the pipe to the
// log: memory that the engine (or the standby) holds a descriptor of, so that it
// outlives the keeper. A byte is always in exactly one place that somebody can find:
//
//	pipe --splice--> transit --read--> ring --write--> log
//	(1)              (2)               (3)             (4)
//
//	1→2  mover names the stream first; the kernel moves the pages in one piece.
//	2→3  moving says how much was in transit. Only the keeper fills the transit pipe,
//	     so what it still holds tells how much has arrived in the ring.
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
	mu   sync.Mutex // held while the state changes
}

const (
	journalMagic   = 0x6c69676a // "ligj"
	journalVersion = 2
	headSize       = 64 << 10 // of which little is used; rings begin on the largest of pages
	// ringSize is that of each stream's ring. It holds the batch that is being written
	// (a move's worth and the line it began with), the beginning of a line after that,
	// and another move's worth. What is never touched takes no memory.
	ringSize = 3 * moveMax
	moveMax  = 256 << 10 // what a pipe of a busy process holds
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
	start  [2]uint64 // the bytes of a stream that are not in the log yet are those from
	end    [2]uint64 // start to end, counted from any point; in the ring modulo its size
	stream uint32    // 1 + the stream whose batch is being written, 0 for none
	used   uint32    // bytes of that batch
	time   int64     // of its first record
	mover  uint32    // 1 + the stream whose bytes are in transit, 0 for none
	moving uint32    // how many they are; 0 while that is not known
}

// newJournal makes the journal of a process with one stream or two.
func newJournal(streams int, pos logfile.Position) (*journal, error) {
	f, err := proc.Shared("lighter journal", headSize+streams*ringSize)
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
	mem, err := proc.MapRings(f, headSize, ringSize, streams)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &journal{file: f, mem: mem, head: (*journalHead)(unsafe.Pointer(&mem[0]))}, nil
}

func (j *journal) sane(streams int) bool {
	if j.head.current.Load() > 1 {
		return false
	}
	st := j.state()
	for s := range streams {
		if st.start[s] > st.end[s] || st.end[s]-st.start[s] > ringSize {
			return false
		}
	}
	if st.mover > uint32(streams) || st.stream > uint32(streams) {
		return false
	}
	return st.stream == 0 || uint64(st.used) <= st.end[st.stream-1]-st.start[st.stream-1]
}

func (j *journal) close() {
	proc.Unmap(j.mem)
	j.mem, j.head = nil, nil
	j.file.Close()
}

// state is the state in force.
func (j *journal) state() journalState {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head.states[j.head.current.Load()]
}

// change puts a changed state in force.
func (j *journal) change(f func(*journalState)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.head.current.Load()
	next := &j.head.states[1-now]
	*next = j.head.states[now]
	f(next)
	j.head.current.Store(1 - now)
}

// bytes are those of a stream from one count to another.
func (j *journal) bytes(stream int, from, to uint64) []byte {
	at := headSize + 2*stream*ringSize + int(from%ringSize)
	return j.mem[at : at+int(to-from)]
}

// fresh are the bytes of a stream that are in no batch yet.
func (j *journal) fresh(stream int) []byte {
	st := j.state()
	from := st.start[stream]
	if st.stream == uint32(stream)+1 {
		from += uint64(st.used)
	}
	return j.bytes(stream, from, st.end[stream])
}

// shrink gives back the memory that a burst of output touched.
func (j *journal) shrink(stream int) {
	if st := j.state(); st.start[stream] == st.end[stream] && st.mover == 0 {
		at := headSize + 2*stream*ringSize
		proc.Forget(j.mem[at+os.Getpagesize() : at+ringSize])
	}
}

// move brings what a descriptor has through the transit pipe into the ring, and
// returns it. Errors are those of proc.Splice.
func (j *journal) move(stream int, fd uintptr, transit *os.File) ([]byte, error) {
	var end uint64
	j.change(func(st *journalState) {
		if st.start[stream] == st.end[stream] {
			st.start[stream], st.end[stream] = 0, 0 // little output stays on few pages
		}
		st.mover, st.moving, end = uint32(stream)+1, 0, st.end[stream]
	})
	room := j.bytes(stream, end, end+moveMax)
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
		st.end[stream] += uint64(n)
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
	if left > n || n > moveMax {
		return fmt.Errorf("%d bytes in transit of %d", left, n)
	}
	end := st.end[stream]
	if err := readFull(transit, j.bytes(stream, end+uint64(n-left), end+uint64(n))); err != nil {
		return fmt.Errorf("bring the bytes in transit: %w", err)
	}
	j.moved(stream, n)
	return nil
}

// begin names the batch that is about to be written, and where.
func (j *journal) begin(stream, used int, time int64, pos logfile.Position) {
	j.change(func(st *journalState) {
		st.log, st.stream, st.used, st.time = pos, uint32(stream)+1, uint32(used), time
	})
}

// done counts the batch as written: the log is right up to pos.
func (j *journal) done(pos logfile.Position, last int64) {
	j.change(func(st *journalState) {
		st.start[st.stream-1] += uint64(st.used)
		st.stream, st.log, st.last = 0, pos, last
	})
}
