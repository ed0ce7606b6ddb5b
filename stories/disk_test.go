package stories

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// disk is a disk of our own, for faults that no kernel's test device is needed for: a process
// (serveDisk) answers the kernel for a file, through FUSE; a loop device lies on the
// file, and ext4 on that. The process remembers what was written since the last flush.
type disk struct {
	t    *testing.T
	dir  string // image, as a file of ours; file, as the kernel has it; mnt, where it is mounted
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	mu   sync.Mutex // guards one order and its answer
	loop string     // the device, "" while it is not mounted
}

// diskVar makes the test's program the process that answers for a disk: its image and file.
const diskVar = "LIGHTER_STORIES_DISK"

// newDisk makes a disk with an empty file system, mounted on dir/mnt.
func newDisk(t *testing.T, megabytes int) *disk {
	for _, need := range []string{"mkfs.ext4", "losetup", "mount", "umount"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("a disk that fails is made with %s, which is not here", need)
		}
	}
	for _, need := range []string{"/dev/fuse", "/dev/loop-control"} {
		if !exists(need) {
			t.Skipf("a disk that fails is made with %s, which is not here", need)
		}
	}
	dir := t.TempDir()
	d := &disk{t: t, dir: dir}
	image, file := filepath.Join(dir, "image"), filepath.Join(dir, "file")
	d.must(os.WriteFile(image, nil, 0o600))
	d.must(os.Truncate(image, int64(megabytes)<<20))
	d.sh("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0", image)
	d.must(os.WriteFile(file, nil, 0o600))
	d.must(os.Mkdir(filepath.Join(dir, "mnt"), 0o755))
	d.cmd = exec.Command(os.Args[0])
	d.cmd.Env = append(os.Environ(), diskVar+"="+image+":"+file)
	d.cmd.Stderr = os.Stderr
	var err error
	d.in, err = d.cmd.StdinPipe()
	d.must(err)
	out, err := d.cmd.StdoutPipe()
	d.must(err)
	d.out = bufio.NewScanner(out)
	d.must(d.cmd.Start())
	t.Cleanup(func() {
		d.in.Close()
		if err := d.cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	d.hear()
	d.mount()
	t.Cleanup(func() {
		if d.loop != "" {
			d.say("on")
			d.unmount()
		}
	})
	return d
}

func (d *disk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) sh(name string, args ...string) string {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (d *disk) mnt() string { return filepath.Join(d.dir, "mnt") }

// mount has the file system there.
func (d *disk) mount() {
	d.loop = d.sh("losetup", "-f", "--show", filepath.Join(d.dir, "file"))
	d.sh("mount", "-t", "ext4", d.loop, d.mnt())
}

// unmount takes it away, though its disk may be gone.
func (d *disk) unmount() {
	var out []byte
	err := await(func() bool {
		var err error
		out, err = exec.Command("umount", d.mnt()).CombinedOutput()
		return err == nil
	}, "the file system to be let go")
	if err != nil {
		holders, _ := exec.Command("sh", "-c", "grep -l "+d.mnt()+" /proc/[0-9]*/mountinfo /proc/[0-9]*/maps 2>/dev/null | head; ls -l /proc/[0-9]*/fd 2>/dev/null | grep "+d.mnt()+" | head").CombinedOutput()
		d.t.Fatalf("%v: %s\n%s", err, out, holders)
	}
	loop := d.loop
	d.loop = ""
	d.sh("losetup", "-d", loop)
	d.must(await(func() bool { return !exists("/sys/block/" + filepath.Base(loop) + "/loop/backing_file") }, loop+" to be let go"))
}

// say tells the process that answers what to do, waits until it does, and gives the moment
// since which the disk fails:
//
//	cut N SEED   after N more writes there is no more power: all fails from then on
//	now          or from this moment on
//	on           there is again, with what was flushed and some of the rest
//	writes       each write fails
//	reads        each read fails
func (d *disk) say(order string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := fmt.Fprintln(d.in, order); err != nil {
		d.t.Error(err)
	}
	nanos, err := strconv.ParseInt(d.hear(), 10, 64)
	if err != nil {
		d.t.Error(err)
	}
	return time.Unix(0, nanos)
}

func (d *disk) hear() string {
	if !d.out.Scan() {
		d.t.Errorf("the disk says nothing more: %v", d.out.Err())
	}
	return d.out.Text()
}

// platter is the disk, in the process that answers for it.
type platter struct {
	mu      sync.Mutex
	now     []byte  // as who reads sees it
	durable []byte  // as it is for sure after a loss of power
	since   []write // what was written after the last flush
	fail    struct{ reads, writes bool }
	left    int // writes until the power is cut; -1: none
	failed  time.Time
	rnd     *rand.Rand
}

type write struct {
	at   int64
	data []byte
}

// sector is what a disk writes whole or not at all.
const sector = 512

func (p *platter) read(at int64, n int) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail.reads {
		return nil, syscall.EIO
	}
	at = min(at, int64(len(p.now)))
	return append([]byte(nil), p.now[at:min(at+int64(n), int64(len(p.now)))]...), nil
}

func (p *platter) write(at int64, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left > 0 {
		if p.left--; p.left == 0 {
			p.fails(true, true)
		}
	}
	if p.fail.writes {
		return syscall.EIO
	}
	if at+int64(len(data)) > int64(len(p.now)) {
		return syscall.ENOSPC
	}
	copy(p.now[at:], data)
	p.since = append(p.since, write{at, append([]byte(nil), data...)})
	return nil
}

func (p *platter) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail.writes {
		return syscall.EIO
	}
	for _, w := range p.since {
		copy(p.durable[w.at:], w.data)
	}
	p.since = nil
	return nil
}

// on has the disk come up after a loss of power: of what was written since the last flush all
// up to some moment may be there, and after that any sector or none.
func (p *platter) on() {
	p.mu.Lock()
	defer p.mu.Unlock()
	whole := 0
	if p.rnd != nil && len(p.since) > 0 {
		whole = p.rnd.IntN(len(p.since) + 1)
	}
	for i, w := range p.since {
		for off := 0; off < len(w.data); off += sector {
			if p.rnd == nil || i < whole || p.rnd.IntN(2) == 0 {
				copy(p.durable[w.at+int64(off):], w.data[off:min(off+sector, len(w.data))])
			}
		}
	}
	for _, w := range p.since {
		copy(p.now[w.at:w.at+int64(len(w.data))], p.durable[w.at:])
	}
	p.since, p.rnd, p.left = nil, nil, -1
	p.fail.reads, p.fail.writes, p.failed = false, false, time.Time{}
}

func (p *platter) order(words []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch words[0] {
	case "cut":
		p.left, _ = strconv.Atoi(words[1])
		seed, _ := strconv.ParseUint(words[2], 10, 64)
		p.rnd = rand.New(rand.NewPCG(seed, 0))
	case "now":
		p.fails(true, true)
	case "writes":
		p.fails(false, true)
	case "reads":
		p.fails(true, false)
	}
}

func (p *platter) fails(reads, writes bool) {
	p.fail.reads, p.fail.writes = p.fail.reads || reads, p.fail.writes || writes
	if p.failed.IsZero() {
		p.failed = time.Now()
	}
}

// serveDisk answers the kernel for a disk's file until its input ends.
func serveDisk(image, file string) error {
	text, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	p := &platter{now: text, durable: append([]byte(nil), text...), left: -1}
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dev.Close() // also: it stays open until then
	fd := int(dev.Fd())
	if err := syscall.Mount("lighter-disk", file, "fuse", syscall.MS_NOSUID|syscall.MS_NODEV,
		fmt.Sprintf("fd=%d,rootmode=100600,user_id=0,group_id=0", fd)); err != nil {
		return fmt.Errorf("mount %s: %w", file, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- (&fuse{fd: fd, p: p}).serve() }()
	fmt.Println("ready")
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		if orders.Text() == "on" {
			p.on()
		} else {
			p.order(strings.Fields(orders.Text()))
		}
		p.mu.Lock()
		fmt.Println(p.failed.UnixNano())
		p.mu.Unlock()
	}
	if err := syscall.Unmount(file, syscall.MNT_DETACH); err != nil {
		return err
	}
	return <-ended
}

// fuse speaks FUSE 7.31 for one file, which is the root itself: linux/fuse.h.
type fuse struct {
	fd int
	p  *platter
}

const (
	fuseGetattr, fuseSetattr, fuseOpen, fuseRead, fuseWrite     = 3, 4, 14, 15, 16
	fuseStatfs, fuseRelease, fuseFsync, fuseFlush, fuseInit     = 17, 18, 20, 25, 26
	fuseForget, fuseInterrupt, fuseDestroy, fuseForgets, fuseIn = 2, 36, 38, 42, 40

	fuseMost      = 1 << 20 // bytes of one write
	fuseDirect    = 1       // FOPEN_DIRECT_IO: the kernel keeps no copy
	fuseBigWrites = 1 << 5
	fuseMaxPages  = 1 << 22
)

var little = binary.LittleEndian

func (f *fuse) serve() error {
	buf := make([]byte, fuseMost+4096)
	for {
		n, err := syscall.Read(f.fd, buf)
		switch {
		case errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOENT):
			continue
		case errors.Is(err, syscall.ENODEV): // unmounted
			return nil
		case err != nil:
			return fmt.Errorf("read from FUSE: %w", err)
		}
		kind, unique, body := little.Uint32(buf[4:]), little.Uint64(buf[8:]), buf[fuseIn:n]
		if kind == fuseForget || kind == fuseForgets || kind == fuseInterrupt {
			continue
		}
		answer, err := f.answer(kind, body)
		var errno syscall.Errno
		if err != nil && !errors.As(err, &errno) {
			errno = syscall.EIO
		}
		reply := make([]byte, 16, 16+len(answer))
		little.PutUint32(reply, uint32(16+len(answer)))
		little.PutUint32(reply[4:], uint32(-int32(errno)))
		little.PutUint64(reply[8:], unique)
		if _, err := syscall.Write(f.fd, append(reply, answer...)); err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("answer FUSE: %w", err)
		}
		if kind == fuseDestroy {
			return nil
		}
	}
}

func (f *fuse) answer(kind uint32, body []byte) ([]byte, error) {
	switch kind {
	case fuseInit:
		out := make([]byte, 64)
		for i, v := range []uint32{7, 31, fuseMost, fuseBigWrites | fuseMaxPages, 16 | 12<<16, fuseMost, 1, fuseMost / 4096} {
			little.PutUint32(out[4*i:], v)
		}
		return out, nil
	case fuseGetattr, fuseSetattr:
		out := make([]byte, 104)
		little.PutUint64(out, 3600)
		little.PutUint64(out[16:], 1)                           // inode
		little.PutUint64(out[24:], uint64(len(f.p.now)))        // size
		little.PutUint64(out[32:], uint64(len(f.p.now)/sector)) // blocks
		little.PutUint32(out[16+60:], syscall.S_IFREG|0o600)    // mode
		little.PutUint32(out[16+64:], 1)                        // links
		return out, nil
	case fuseOpen:
		out := make([]byte, 16)
		little.PutUint32(out[8:], fuseDirect)
		return out, nil
	case fuseRead:
		return f.p.read(int64(little.Uint64(body[8:])), int(little.Uint32(body[16:])))
	case fuseWrite:
		n := little.Uint32(body[16:])
		if err := f.p.write(int64(little.Uint64(body[8:])), body[40:40+n]); err != nil {
			return nil, err
		}
		out := make([]byte, 8)
		little.PutUint32(out, n)
		return out, nil
	case fuseFsync:
		return nil, f.p.flush()
	case fuseStatfs:
		return make([]byte, 80), nil
	case fuseFlush, fuseRelease, fuseDestroy:
		return nil, nil
	}
	return nil, syscall.ENOSYS
}
