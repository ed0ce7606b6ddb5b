package proc

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestStrangerThatIsReapedMeanwhile waits for processes that somebody else reaps while we
// look: how they ended is known at each moment of it.
func TestStrangerThatIsReapedMeanwhile(t *testing.T) {
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	parent := exec.Command("sh", "-c", `while :; do (read -r _ <&3 || exit 9; exit 4) & echo $!; wait $! || [ $? != 9 ] || exit 0; done`)
	parent.ExtraFiles = []*os.File{theirs}
	said, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	defer func() {
		to.Close() // the last one reads no more, and ends them all
		io.Copy(io.Discard, said)
		parent.Wait()
	}()
	lines := bufio.NewReader(said)
	next := func() *os.File {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		pidfd, err := OpenPid(pid)
		if err != nil {
			t.Fatal(err)
		}
		return pidfd
	}
	end := func() {
		if _, err := to.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
	}
	first := next()
	end()
	pidfd := next() // so the first has been reaped
	_, kept := exitInfo(int(first.Fd()))
	first.Close()
	if !kept {
		pidfd.Close()
		t.Skip("needs Linux 6.15: PIDFD_GET_INFO tells of who was reaped")
	}
	for i := range 2000 {
		if i > 0 {
			pidfd = next()
		}
		end()
		exit, err := Wait(t.Context(), pidfd)
		pidfd.Close()
		if err != nil || exit.Code != 4 {
			t.Fatalf("process %d of them: %+v, %v", i, exit, err)
		}
	}
}
